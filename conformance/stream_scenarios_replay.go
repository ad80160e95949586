package conformance

import "time"

// driveStreamReplay reads a stream again and again, from all kinds of starts
// to all kinds of ends, while it is written to, beside groups that are not to
// notice.
func driveStreamReplay(r *run) {
	const each = 800
	idle, late := r.flow(), r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	feed := func(n int, flows ...*flow) { r.feed(p, r.rng, n, 10, shape{keys: 40, size: 20}, flows...) }
	feed(each, idle)
	last := r.member(late, 1, "group", "late", "start", "latest")
	latest := r.member(r.flow(), 2, "start", "latest")
	bystander := r.member(idle, 3, "group", "idle")
	bystander.gather(each)
	_ = bystander.commit(bystander.some(5))
	bystander.leave()
	between := r.clock()
	feed(each, idle, late)
	last.leave() // before it has received anything
	r.replay(4, "end", "now")
	r.reread(between)
	writing := make(chan struct{})
	r.wg.Go(func() {
		defer close(writing)
		r.feed(p, r.random(5), each, 10, shape{keys: 40, size: 20}, idle, late)
	})
	r.replay(6, "end", "now")
	r.replay(7, "end", "now")
	<-writing
	latest.exhaust()
	latest.leave()
	bystander = r.member(idle, 8, "group", "idle").work(habits{keep: 3, idle: time.Second})
	last = r.member(late, 9, "group", "late", "start", "latest").work(habits{keep: 3, idle: time.Second})
	late.await(0, r.patience())
	idle.drain()
	bystander.leave()
	last.leave()
}

// clock waits until the broker's clock has left the second in which it was
// asked, and returns the time of the next full one: URLs have times to the
// second. What is published from now on is later.
func (r *run) clock() time.Time {
	// One that lies ahead is only a time at which nothing is published.
	at := time.Now().Truncate(time.Second).Add(time.Second)
	r.pause(time.Until(at))
	return at
}

// reread reads parts: one partition each, between offsets, from a time and to
// a time, and has groups start at offsets.
func (r *run) reread(between time.Time) {
	text := between.UTC().Format(time.RFC3339)
	r.replay(20, "start", text, "end", "now")
	r.replay(21, "end", text)
	for i, k := range r.places() {
		n := len(k.offsets)
		from, to := k.offsets[n/4], k.offsets[n*3/4]
		r.replay(30+i, "partition", k.partition, "start", string(from), "end", string(to))
		r.replay(40+i, "partition", k.partition, "start", string(to), "end", "now")
		if i < 2 {
			m := r.member(r.flow(), 50+i, "group", "from-"+k.partition, "partition", k.partition, "start", string(from))
			m.exhaust()
			m.leave()
		}
	}
}

// driveStreamClock steps the wall clock while messages are published, and
// reads from and to times on both sides.
func driveStreamClock(r *run) {
	const each = 150
	fl := r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	feed := func() { r.feed(p, r.rng, each, 10, shape{keys: 40, size: 20}, fl) }
	feed()
	start := r.clock()
	feed()
	for _, d := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		r.change(Event{Text: "clock", Delay: d}, func() error { r.target.StepClock(d); return nil })
		feed()
		r.clock()
	}
	r.replay(1, "end", "now")
	for i, at := range []time.Time{start, start.Add(30 * time.Minute), start.Add(-30 * time.Minute)} {
		text := at.UTC().Format(time.RFC3339)
		r.replay(10+i, "start", text, "end", "now")
		r.replay(20+i, "end", text)
	}
	text := start.UTC().Format(time.RFC3339)
	m := r.member(r.flow(), 30, "group", "timed", "start", text)
	m.exhaust()
	m.leave()
	a := r.member(fl, 31, "group", "g").work(habits{keep: 3, idle: time.Second})
	fl.drain()
	a.leave()
}
