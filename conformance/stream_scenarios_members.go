package conformance

import "time"

// Scenarios in which members of a group come, go, die and wake.

// driveStreamChurn has members join and leave while messages come, some of
// which are slow to settle, and some slower than the bound of a hand-over.
func driveStreamChurn(r *run) {
	const steps, each, after = 100, 22, 300
	fl := r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	join := func(seed int) *member {
		h := habits{keep: 12, idle: time.Duration(1+r.rng.IntN(4)) * time.Second, release: 4}
		if r.rng.IntN(3) == 0 {
			h.idle, h.keep = 2*r.timing.Handover, 30 // stubborn
		}
		return r.member(fl, seed, "group", "g", "handover", r.timing.Handover.String()).work(h)
	}
	members := []*member{join(100), join(101)}
	end := r.fault(faultChurn)
	for step := range steps {
		r.feed(p, r.rng, each, 8, shape{keys: 30, size: 20}, fl)
		fl.await(max(0, fl.left()-each/2), time.Second)
		if n := len(members); n > 1 && (n >= 4 || r.rng.IntN(2) == 0) {
			k := r.rng.IntN(n)
			members[k].leave()
			members = append(members[:k], members[k+1:]...)
		} else {
			members = append(members, join(102+step))
			if r.rng.IntN(4) == 0 {
				r.pause(r.timing.Handover + time.Second)
			}
		}
	}
	end(steps)
	r.feed(p, r.rng, after, 8, shape{keys: 30, size: 20}, fl)
	fl.drain()
	for _, m := range members {
		m.leave()
	}
}

// driveStreamHandover has a second member join one that has something in hand
// of every partition, which it settles at once, in time, in part, or too late.
func driveStreamHandover(r *run) {
	const cycles, each = 32, 24
	fl := r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	pairs := []string{"group", "g", "handover", r.timing.Handover.String()}
	for c := range cycles {
		r.feed(p, r.rng, each, 8, shape{size: 20}, fl)
		a := r.member(fl, 100+2*c, pairs...)
		a.gather(fl.left() / (1 + r.rng.IntN(2))) // and has read ahead what it did not ask for
		b := r.member(fl, 101+2*c, pairs...)
		switch c % 4 {
		case 0:
			_ = a.commit(none)
		case 1:
			r.pause(r.timing.Handover / 5)
			_ = a.commit(a.some(3))
			a.giveBack()
			_ = a.commit(none)
		case 2:
			_ = a.commit(a.some(3))
			r.pause(r.timing.Handover + time.Second)
			_ = a.commit(none)
		case 3:
			r.pause(r.timing.Handover + time.Second)
			_ = a.commit(a.some(1))
		}
		r.feed(p, r.rng, each, 8, shape{size: 20}, fl)
		b.gather(each / 3)
		_ = b.commit(b.some(2))
		a.take(r.ctx, each, time.Second)
		_ = a.commit(a.some(2))
		b.leave()
		a.leave()
	}
	m := r.member(fl, 1, pairs...).work(habits{idle: time.Second})
	fl.drain()
	m.leave()
}

// driveStreamSteps has one member after the other take a few steps in
// partitions that are short, so that groups resume at each offset where texts
// become longer. They commit, commit lower once more, and give back. Two groups
// take turns, which are not to notice one another.
func driveStreamSteps(r *run) {
	const cycles, each = 140, 5
	names, flows := []string{"g", "g-2"}, []*flow{r.flow(), r.flow()}
	p := must[*publisher](r)(r.publisher(open{}))
	for c := range cycles {
		r.feed(p, r.rng, each, 3, shape{size: 10}, flows...)
		fl := flows[c%2]
		m := r.member(fl, 100+c, "group", names[c%2])
		m.gather(fl.left())
		first := m.firsts()
		switch r.rng.IntN(4) {
		case 0:
			m.giveBack()
			m.take(r.ctx, 50, r.timing.Operation)
			_ = m.commit(m.some(2))
		case 1:
			_ = m.commit(m.some(3))
			_ = m.commit(m.some(1))
		default:
			_ = m.commit(m.some(2))
		}
		if r.rng.IntN(2) == 0 {
			m.commitLower(first)
		}
		m.leave()
	}
	for i, fl := range flows {
		m := r.member(fl, 1+i, "group", names[i]).work(habits{idle: time.Second})
		fl.drain()
		m.leave()
	}
}

// driveStreamCrash has members of a group that starts at the latest die with
// something in hand, the first ones before any of them has committed.
func driveStreamCrash(r *run) {
	const cycles, each, before = 100, 24, 100
	fl := r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	r.feed(p, r.rng, before, 10, shape{keys: 30, size: 20})
	var living *member
	for c := range cycles {
		m := r.member(fl, 100+c, "group", "g", "start", "latest")
		r.feed(p, r.rng, each, 8, shape{keys: 30, size: 20}, fl)
		if c == cycles*2/3 {
			living = r.member(fl, 1, "group", "g", "start", "latest").work(habits{keep: 3, idle: time.Second})
		}
		m.gather(min(fl.left(), 4+r.rng.IntN(each)))
		if c >= 5 && m.hand() > 4 {
			kept := 0
			_ = m.commit(func(s *slot) int {
				n := min(len(s.ds), max(1, 4-kept))
				kept += n
				return n
			})
		}
		r.crash(&m.subscriber)
	}
	last := r.member(fl, 2, "group", "g", "start", "latest").work(habits{keep: 3, idle: time.Second})
	fl.drain()
	living.leave()
	last.leave()
	r.replay(3, "end", "now")
}

// driveStreamZombie freezes members that have something in hand until others
// have done it, and lets them go on.
func driveStreamZombie(r *run) {
	const cycles, each = 34, 90
	fl := r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	other := r.member(fl, 1, "group", "g").work(habits{keep: 3, idle: time.Second})
	for c := range cycles {
		m := r.member(fl, 100+c, "group", "g")
		r.feed(p, r.rng, each, 10, shape{keys: 30, size: 20}, fl)
		m.gather(36)
		if r.rng.IntN(2) == 0 {
			_ = m.commit(m.some(12))
		}
		thaw := r.freeze(&m.subscriber)
		ended := make(chan struct{})
		if r.rng.IntN(3) == 0 { // it hangs in a Commit, and will end it
			r.wg.Go(func() {
				defer close(ended)
				m.stale()
			})
		} else {
			close(ended)
		}
		fl.await(r.rng.IntN(each/3), r.patience())
		thaw()
		<-ended
		m.stale()
		m.slots = nil
		m.take(r.ctx, 10, time.Second)
		_ = m.commit(none)
		m.leave()
	}
	fl.drain()
	other.leave()
}

// stale tries to commit all that is in hand, twice, which is no longer the
// member's: nobody is told ErrLost once and nil after.
func (m *member) stale() {
	ctx, cancel := m.bounded()
	defer cancel()
	for range 2 {
		for _, s := range m.slots {
			_ = m.Commit(ctx, s.ds...)
		}
	}
}
