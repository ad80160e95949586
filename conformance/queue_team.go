package conformance

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/fa5182d2/messaging"
)

// team opens consumers that work until stop is called, which waits until they
// hold nothing.
func (r *run) team(w *workers, n int, o open) (qs []*queue, stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	var ended []<-chan struct{}
	for i := range n {
		q := must[*queue](r)(r.queue(o))
		qs = append(qs, q)
		ended = append(ended, w.work(ctx, q, r.random(1000+q.n*10+i)))
	}
	return qs, func() {
		cancel()
		for _, e := range ended {
			<-e
		}
	}
}

// aside is the path of a message that fails in every way before it succeeds,
// in an order of its own.
func aside(rng *rand.Rand, ways ...step) []step {
	path := append([]step(nil), ways...)
	rng.Shuffle(len(path), func(i, j int) { path[i], path[j] = path[j], path[i] })
	return path
}

// finishQueue waits until the workers are done, closes them and looks whether
// anything comes after that.
func (r *run) finishQueue(w *workers, qs []*queue, stop func(), o open) {
	w.await(qs[0].Capabilities().Lease)
	stop()
	for _, q := range qs {
		_ = q.Close()
	}
	r.probe(o)
}

// send publishes count messages and returns the numbers of those that were
// taken, or may have been.
func (r *run) send(p *publisher, rng *rand.Rand, count int, s shape) []int {
	var taken []int
	for count > 0 {
		numbers := make([]int, min(count, 1+rng.IntN(200)))
		for i := range numbers {
			numbers[i] = r.message(p, rng, s)
		}
		count -= len(numbers)
		ctx, cancel := context.WithTimeout(r.ctx, r.timing.Operation+r.timing.Reconnect)
		err := p.publish(ctx, numbers)
		cancel()
		for i, n := range numbers {
			if phaseOf(messaging.ErrorAt(err, i)) != Fail {
				taken = append(taken, n)
			}
		}
	}
	return taken
}

// quiet is how long nothing more must come before a queue counts as empty.
func (r *run) quiet(q *queue) time.Duration {
	if r.timing.Quiet > 0 {
		return r.timing.Quiet
	}
	return q.Capabilities().Lease + time.Second
}

// probed is the note that begins to watch a queue that ought to be empty.
const probed = "probe"

// probe opens a fresh consumer and watches whether anything comes to it.
func (r *run) probe(o open) {
	q := must[*queue](r)(r.queue(o))
	r.add(Event{Kind: Note, Session: q.n, Text: probed})
	ctx, cancel := context.WithTimeout(r.ctx, q.Capabilities().Lease+r.quiet(q))
	defer cancel()
	for {
		if _, err := q.Receive(ctx, 10); err != nil {
			return
		}
	}
}

// size is how many messages a scenario needs of n, for brokers where so many
// would take too long fewer.
func (r *run) size(n int) int {
	if most := r.options.Most; most > 0 {
		return min(n, most+most/5+20)
	}
	return n
}
