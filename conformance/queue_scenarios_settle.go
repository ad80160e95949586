package conformance

import "time"

// delays are those of nacks: brokers that count in seconds round up.
var delays = []time.Duration{300 * time.Millisecond, time.Second, 10 * time.Second, 20 * time.Second}

// driveNacks has two consumers nack, nack with a delay and release each
// message before they acknowledge it. A few messages fail for ever, as long
// as there are others.
func driveNacks(r *run) {
	const poison = 3
	rng := r.random(1)
	paths := map[int][]step{}
	var w *workers
	w = r.workers(func(n, visit int) step {
		if n <= poison {
			switch {
			case w.all && len(w.left) <= poison: // w is locked
				return step{kind: Ack}
			case visit < 300:
				return step{kind: Nack}
			case visit < 304: // not for ever: what else is missing shows when all is quiet
				return step{kind: Nack, delay: 20 * time.Second}
			}
			return step{kind: Ack}
		}
		path := paths[n]
		if path == nil {
			path = aside(rng, step{kind: Nack}, step{kind: Nack, delay: delays[rng.IntN(len(delays))]}, step{kind: Release})
			paths[n] = path
		}
		if visit > len(path) {
			return step{kind: Ack}
		}
		return path[visit-1]
	})
	w.mess = true
	qs, stop := r.team(w, 2, open{})
	p := must[*publisher](r)(r.publisher(open{}))
	w.expect(false, r.send(p, r.rng, poison, shape{})...)
	w.expect(true, r.send(p, r.rng, r.size(2400), shape{size: 20})...)
	r.finishQueue(w, qs, stop, open{})
}

// driveLostReplies loses answers while two consumers nack some messages and
// acknowledge all.
func driveLostReplies(r *run) {
	count := r.size(2200)
	w := r.workers(func(n, visit int) step {
		switch {
		case visit == 1 && n%3 == 0:
			return step{kind: Nack}
		case visit == 1 && n%7 == 0:
			return step{kind: Release}
		}
		return step{kind: Ack}
	})
	w.mess = true
	qs, stop := r.team(w, 2, open{})
	p := must[*publisher](r)(r.publisher(open{}))
	for range 10 {
		heal := r.inject("F3")
		w.expect(true, r.send(p, r.rng, count/10, shape{})...)
		w.await(qs[0].Capabilities().Lease)
		heal()
		w.again()
	}
	w.expect(true, r.send(p, r.rng, 20, shape{})...)
	r.finishQueue(w, qs, stop, open{})
}
