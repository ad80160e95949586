package conformance

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// flow is what a group of a stream is to get, and has done. Its messages have
// the suite's values as their ids.
type flow struct {
	r       *run
	mu      sync.Mutex
	want    map[string]bool
	done    map[string]bool
	missing int
	changed chan struct{} // holds one
}

func (r *run) flow() *flow {
	return &flow{r: r, want: map[string]bool{}, done: map[string]bool{}, changed: make(chan struct{}, 1)}
}

// expect says that the group is to get a message.
func (fl *flow) expect(id string) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if !fl.want[id] {
		fl.want[id] = true
		if !fl.done[id] {
			fl.missing++
		}
	}
}

// finish says that deliveries were committed.
func (fl *flow) finish(ds []*messaging.Delivery) {
	fl.mu.Lock()
	for _, d := range ds {
		if !fl.done[d.ID] {
			fl.done[d.ID] = true
			if fl.want[d.ID] {
				fl.missing--
			}
		}
	}
	fl.mu.Unlock()
	select {
	case fl.changed <- struct{}{}:
	default:
	}
}

// left returns how many messages are not done.
func (fl *flow) left() int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.missing
}

// await waits until no more than left messages are not done, or nothing was
// done for a while.
func (fl *flow) await(left int, while time.Duration) bool {
	t := time.NewTimer(while)
	defer t.Stop()
	for fl.left() > left {
		select {
		case <-fl.changed:
			t.Reset(while)
		case <-t.C:
			return false
		case <-fl.r.ctx.Done():
			return false
		}
	}
	return true
}

// drain waits until everything is done, or nothing more comes, and says so in
// the history.
func (fl *flow) drain() {
	fl.await(0, fl.r.patience())
	if fl.r.ctx.Err() == nil {
		fl.r.fact(factDrained, 1)
	}
}

// patience is how long a group may deliver nothing although there is
// something: until a dead member is noticed and a partition has moved.
func (r *run) patience() time.Duration {
	session := r.timing.Session
	if session == 0 {
		r.recorder.mu.Lock()
		for i := range r.h.Sessions {
			session = max(session, r.h.Sessions[i].Lease)
		}
		r.recorder.mu.Unlock()
	}
	return session + r.timing.Handover + r.timing.Redelivery + r.timing.Operation
}

// feed publishes n messages in calls of up to batch, and adds what was taken to
// the flows.
func (r *run) feed(p *publisher, rng *rand.Rand, n, batch int, s shape, flows ...*flow) {
	s.ids = true
	for n > 0 {
		numbers := make([]int, min(n, 1+rng.IntN(batch)))
		n -= len(numbers)
		for i := range numbers {
			numbers[i] = r.message(p, rng, s)
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.timing.Operation+r.timing.Reconnect)
		err := p.publish(ctx, numbers)
		cancel()
		r.recorder.mu.Lock()
		ids := make([]string, len(numbers))
		for i, k := range numbers {
			ids[i] = r.published[k-1].ID
		}
		r.recorder.mu.Unlock()
		for i, id := range ids {
			if messaging.ErrorAt(err, i) == nil {
				for _, fl := range flows {
					fl.expect(id)
				}
			}
		}
		if r.ctx.Err() != nil {
			return
		}
	}
}
