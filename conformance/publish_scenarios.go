package conformance

import (
	"context"
	"sync/atomic"
	"time"
)

// publishScenarios are those that P rules are judged by.
func publishScenarios() []*scenario {
	return []*scenario{
		{
			name: "load", flavour: ForQueue, fault: "none",
			rules: []string{"P01"},
			drive: driveLoad,
		},
	}
}

// driveLoad has two publishers and two consumers work on one queue until it is
// empty.
func driveLoad(r *run) {
	const messages, publishers, consumers = 4000, 2, 2
	var subs []*queue
	for range consumers {
		subs = append(subs, must[*queue](r)(r.queue(open{})))
	}
	var acked atomic.Int64
	done, stop := context.WithCancel(r.ctx)
	for i, s := range subs {
		rng := r.random(10 + i)
		r.wg.Go(func() {
			for done.Err() == nil {
				ds, err := s.Receive(done, []int{1, 2, 10, s.Capabilities().Window}[rng.IntN(4)])
				if err != nil {
					return
				}
				if s.Ack(r.ctx, ds...) == nil {
					acked.Add(int64(len(ds)))
				}
			}
		})
	}
	for i := range publishers {
		p := must[*publisher](r)(r.publisher(open{}))
		rng := r.random(i)
		r.wg.Go(func() {
			for n := 0; n < messages/publishers; {
				batch := min(1+rng.IntN(20), messages/publishers-n)
				n += batch
				_ = r.publish(p, rng, batch, shape{keys: 10, size: 200, odd: true})
			}
		})
	}
	r.until(func() bool { return acked.Load() >= messages })
	stop()
}

// until waits until holds holds, asking now and then, for as long as the run
// may take. It is for what has no event.
func (r *run) until(holds func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return false
		}
	}
	return true
}
