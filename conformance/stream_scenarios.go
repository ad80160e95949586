package conformance

import "time"

// streamScenarios are the runs for streamRules.
func streamScenarios() []*scenario {
	return []*scenario{
		{
			name: "stream-load", flavour: ForStream, fault: "none", drive: driveStreamLoad,
			rules: []string{"S01", "S02", "S03", "S04", "S05", "S07", "S08"},
		},
		{
			name: "stream-churn", flavour: ForStream, fault: "F10", drive: driveStreamChurn,
			rules: []string{"S03", "S04", "S05", "S08", "S09", "S10", "S13", "S16", "S17", "S18"},
		},
		{
			name: "stream-handover", flavour: ForStream, fault: "F10", drive: driveStreamHandover,
			rules: []string{"S03", "S04", "S08", "S09", "S10", "S16", "S17", "S18"},
		},
		{
			name: "stream-steps", flavour: ForStream, fault: "F10", drive: driveStreamSteps,
			rules: []string{"S03", "S09", "S10", "S16", "S18"},
		},
		{
			name: "stream-crash", flavour: ForStream, fault: "F8", drive: driveStreamCrash, needs: needsCrash,
			rules: []string{"S01", "S03", "S04", "S05", "S08", "S09", "S10", "S12", "S16"},
		},
		{
			name: "stream-zombie", flavour: ForStream, fault: "F9", drive: driveStreamZombie, needs: needsFreeze,
			rules: []string{"S03", "S04", "S05", "S08", "S09", "S10", "S16"},
		},
		{
			name: "stream-replies", flavour: ForStream, fault: "F3", drive: driveStreamReplies, needs: needsFault("F3"),
			rules: []string{"S01", "S02", "S03", "S04", "S05", "S09", "S10", "S16"},
		},
		{
			name: "stream-added", flavour: ForStream, fault: "F13", drive: driveStreamAdded, needs: needsAdd,
			rules: []string{"S01", "S02", "S03", "S04", "S05", "S12"},
		},
		{
			name: "stream-split", flavour: ForStream, fault: "F13", drive: driveStreamSplit, needs: needsSplit,
			rules: []string{"S01", "S02", "S03", "S04", "S05", "S07"},
		},
		{
			name: "stream-trim", flavour: ForStream, fault: faultRetention, drive: driveStreamTrim, needs: needsTrim,
			rules: []string{"S01", "S04"},
		},
		{
			name: "stream-replay", flavour: ForStream, fault: "none", drive: driveStreamReplay,
			rules: []string{"S01", "S11", "S12"},
		},
		{
			name: "stream-clock", flavour: ForStream, fault: "F16", drive: driveStreamClock, needs: needsClock,
			rules: []string{"S01", "S11", "S12"},
		},
	}
}

// hook says what is missing where a target has no such hook.
func hook(has bool, what string) string {
	if has {
		return ""
	}
	return "the target has no hook to " + what
}

func needsCrash(t *Target) string  { return hook(t.Crash != nil, "crash a subscriber") }
func needsFreeze(t *Target) string { return hook(t.Freeze != nil, "freeze a subscriber") }
func needsAdd(t *Target) string    { return hook(t.AddPartitions != nil, "add partitions") }
func needsSplit(t *Target) string  { return hook(t.Split != nil, "split a partition") }
func needsTrim(t *Target) string   { return hook(t.Trim != nil, "trim a partition") }
func needsClock(t *Target) string  { return hook(t.StepClock != nil, "step the clock") }

func needsFault(name string) func(*Target) string {
	return func(t *Target) string { return hook(t.suffers(name), "switch on "+name) }
}

// driveStreamLoad has two publishers and two members work on one stream until
// it is drained, while somebody reads all of it alone, and once more after.
func driveStreamLoad(r *run) {
	const messages = 4000
	fl := r.flow()
	a := r.member(fl, 1, "group", "g").work(habits{keep: 40, idle: time.Second})
	b := r.member(fl, 2, "group", "g").work(habits{keep: 40, idle: time.Second})
	alone := r.member(r.flow(), 3).work(habits{keep: 100, idle: time.Second})
	fed := make(chan struct{})
	for i := range 2 {
		p := must[*publisher](r)(r.publisher(open{}))
		rng := r.random(10 + i)
		s := shape{keys: 60, size: 40}
		r.wg.Go(func() {
			for range messages / 2 / 50 {
				r.feed(p, rng, 50, 20, s, fl)
				fl.await(250, time.Second) // neither may run ahead of the other
			}
			fed <- struct{}{}
		})
	}
	<-fed
	<-fed
	fl.drain()
	a.leave()
	b.leave()
	alone.leave()
	r.replay(4, "end", "now")
}

// driveStreamReplies loses replies of Publish and Commit while one member
// after the other reads on where the last one was.
func driveStreamReplies(r *run) {
	const cycles, each = 60, 40
	fl := r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	once := must[*publisher](r)(r.publisher(open{params: params("retry", "none")}))
	rng := r.random(1)
	heal := r.inject("F3")
	for c := range cycles {
		r.feed([]*publisher{p, once}[c%2], rng, each, 8, shape{keys: 30, size: 20}, fl)
		m := r.member(fl, 100+c, "group", "g")
		for m.gather(min(each, fl.left())) {
			unsure := false // of what it has committed
			for keep := 12; keep >= 0 && !unsure; keep -= 4 {
				unsure = codeOf(m.commit(m.some(keep))) == Uncertain && rng.IntN(3) > 0
			}
			if unsure || m.hand() == 0 || rng.IntN(3) == 0 {
				break
			}
		}
		m.leave()
	}
	heal()
	m := r.member(fl, 2, "group", "g").work(habits{keep: 5, idle: time.Second})
	fl.drain()
	m.leave()
	r.replay(3, "end", "now")
}
