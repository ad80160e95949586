package conformance

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fa5182d2/messaging"
)

// member is a member of a group, or a reader alone, and what it has in hand,
// one slot a lease. It has one user at a time: the scenario, or its goroutine.
type member struct {
	*stream
	fl    *flow
	rng   *rand.Rand
	slots []*slot
	quit  context.CancelFunc
	done  chan struct{} // its goroutine has ended; nil: it has none
	err   error         // of its last Receive
}

// slot is what is in hand of one partition, in order.
type slot struct {
	lease     *messaging.Lease
	partition string
	ds        []*messaging.Delivery
	committed *messaging.Delivery // the last that was
}

// member opens a subscriber of a stream.
func (r *run) member(fl *flow, seed int, pairs ...string) *member {
	s := must[*stream](r)(r.stream(open{params: params(pairs...)}))
	return &member{stream: s, fl: fl, rng: r.random(seed)}
}

// take receives up to max messages into the slots, waiting for at most a time,
// and says whether any came.
func (m *member) take(ctx context.Context, max int, wait time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ds, err := m.Receive(ctx, max)
	m.err = err
	for _, d := range ds {
		if d != nil {
			m.slot(d).ds = append(m.slot(d).ds, d)
		}
	}
	return err == nil && len(ds) > 0
}

func (m *member) slot(d *messaging.Delivery) *slot {
	for _, s := range m.slots {
		if s.lease == d.Lease && s.partition == d.Partition {
			return s
		}
	}
	s := &slot{lease: d.Lease, partition: d.Partition}
	m.slots = append(m.slots, s)
	return s
}

// hand is how many deliveries are in hand.
func (m *member) hand() (n int) {
	for _, s := range m.slots {
		n += len(s.ds)
	}
	return n
}

// gather receives until n are in hand, or nothing comes for a while.
func (m *member) gather(n int) bool {
	for m.hand() < n {
		if !m.take(m.fl.r.ctx, []int{1, 2, 10, n}[m.rng.IntN(4)], m.fl.r.patience()) {
			return false
		}
	}
	return true
}

// exhaust receives and commits until nothing comes any more, or Receive fails.
func (m *member) exhaust() {
	for m.take(m.fl.r.ctx, 1+m.rng.IntN(200), m.fl.r.patience()) {
		_ = m.commit(none)
	}
}

// commit commits each slot up to where keep leaves that many in hand of it, in
// one call. What was lost is dropped; what is uncertain stays.
func (m *member) commit(keep func(*slot) int) error {
	var ds []*messaging.Delivery
	var of []*slot
	for _, s := range m.slots {
		if n := len(s.ds) - keep(s); n > 0 {
			if n > 1 && m.rng.IntN(4) == 0 {
				ds, of = append(ds, s.ds[m.rng.IntN(n-1)]), append(of, s)
			}
			ds, of = append(ds, s.ds[n-1]), append(of, s)
		}
	}
	if len(ds) == 0 {
		return nil
	}
	// The order of arguments must not matter.
	m.rng.Shuffle(len(ds), func(i, j int) { ds[i], ds[j], of[i], of[j] = ds[j], ds[i], of[j], of[i] })
	ctx, cancel := m.bounded()
	defer cancel()
	err := m.Commit(ctx, ds...)
	for i, d := range ds {
		switch one := messaging.ErrorAt(err, i); {
		case one == nil:
			m.fl.finish(of[i].settled(d))
		case errors.Is(one, messaging.ErrUncertain):
			m.fl.finish(of[i].upTo(d)) // as far as anybody can tell
		case errors.Is(one, messaging.ErrLost), errors.Is(one, messaging.ErrClosed):
			of[i].ds = nil
		}
	}
	return err
}

func (m *member) bounded() (context.Context, context.CancelFunc) {
	r := m.fl.r
	return context.WithTimeout(r.ctx, r.timing.Operation+r.timing.Reconnect)
}

// upTo returns d, if it is in hand, and what lies before it.
func (s *slot) upTo(d *messaging.Delivery) []*messaging.Delivery {
	return s.ds[:slices.Index(s.ds, d)+1]
}

// settled takes d, and what lies before it, out of s.
func (s *slot) settled(d *messaging.Delivery) []*messaging.Delivery {
	ds := s.upTo(d)
	if len(ds) > 0 {
		s.ds, s.committed = s.ds[len(ds):], d
	}
	return ds
}

// some keeps up to n of each slot.
func (m *member) some(n int) func(*slot) int {
	return func(*slot) int { return m.rng.IntN(n + 1) }
}

// none keeps nothing.
func none(*slot) int { return 0 }

// commitLower commits once more what lies below what was committed.
func (m *member) commitLower(lower map[*slot]*messaging.Delivery) {
	var ds []*messaging.Delivery
	for _, s := range m.slots {
		if d := lower[s]; d != nil && s.committed != nil && d.Offset.Compare(s.committed.Offset) < 0 {
			ds = append(ds, d)
		}
	}
	if len(ds) > 0 {
		ctx, cancel := m.bounded()
		defer cancel()
		_ = m.Commit(ctx, ds...)
	}
}

// firsts returns the first in hand of each slot.
func (m *member) firsts() map[*slot]*messaging.Delivery {
	first := map[*slot]*messaging.Delivery{}
	for _, s := range m.slots {
		if len(s.ds) > 0 {
			first[s] = s.ds[0]
		}
	}
	return first
}

// giveBack releases the end of some slots, in one call, and then tries to
// commit what it has released.
func (m *member) giveBack() {
	var ds, void []*messaging.Delivery
	for _, s := range m.slots {
		if len(s.ds) == 0 || m.rng.IntN(3) == 0 {
			continue
		}
		from := m.rng.IntN(len(s.ds))
		back := s.ds[from:]
		ds = append(ds, back[0])
		if len(back) > 1 {
			ds = append(ds, back[1+m.rng.IntN(len(back)-1)])
		}
		void = append(void, back[m.rng.IntN(len(back))])
		s.ds = s.ds[:from]
	}
	if len(ds) == 0 {
		return
	}
	m.rng.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
	ctx, cancel := m.bounded()
	defer cancel()
	_ = m.Release(ctx, ds...)
	if m.rng.IntN(2) == 0 {
		_ = m.Commit(ctx, void...)
	}
}

// habits are how a member works in its goroutine.
type habits struct {
	keep    int           // the most that it leaves in hand of a slot
	idle    time.Duration // how long it waits for more before it commits all
	release int           // one in so many times it gives something back; 0 is never
}

// work lets a goroutine receive and commit, until halt.
func (m *member) work(h habits) *member {
	ctx, cancel := context.WithCancel(m.fl.r.ctx)
	m.quit, m.done = cancel, make(chan struct{})
	m.fl.r.wg.Go(func() {
		defer close(m.done)
		for ctx.Err() == nil {
			wait := h.idle
			if m.hand() == 0 {
				wait = m.fl.r.options.Limit
			}
			switch {
			case m.take(ctx, []int{1, 2, 10, 50}[m.rng.IntN(4)], wait):
				if h.release > 0 && m.rng.IntN(h.release) == 0 {
					m.giveBack()
				}
				_ = m.commit(m.some(h.keep))
			case errors.Is(m.err, context.DeadlineExceeded):
				_ = m.commit(none)
			default:
				return
			}
		}
	})
	return m
}

// halt ends the goroutine. What is in hand stays.
func (m *member) halt() {
	if m.done != nil {
		m.quit()
		<-m.done
		m.done = nil
	}
}

// leave ends the member in order.
func (m *member) leave() {
	m.halt()
	_ = m.Close()
}

// replay reads alone, to the end= that it is given, and commits as it goes.
func (r *run) replay(seed int, pairs ...string) {
	m := r.member(r.flow(), seed, pairs...)
	for m.take(r.ctx, []int{1, 10, 100, 1000}[m.rng.IntN(4)], r.patience()) {
		if m.hand() > m.Capabilities().Window/2 {
			_ = m.commit(m.some(3))
		}
	}
	_ = m.Close()
}
