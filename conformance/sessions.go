package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// publisher records what is published through it. Its messages are the
// suite's: made by [run.message].
type publisher struct {
	messaging.Publisher
	r       *recorder
	n       int // session
	channel string
	counter atomic.Int64
}

// publish publishes messages that were registered, by their numbers, and
// returns what Publish returned.
func (p *publisher) publish(ctx context.Context, numbers []int) error {
	return p.attempt(ctx, numbers, nil)
}

// attempt is publish where refuse says why places have to be refused, or nil.
// What the publisher is given is a copy, and used again for something else
// when it has returned.
func (p *publisher) attempt(ctx context.Context, numbers []int, refuse func(place int) Code) error {
	call := p.r.call()
	ms := make([]messaging.Message, len(numbers))
	invokes, outcomes := make([]Event, len(numbers)), make([]Event, len(numbers))
	p.r.mu.Lock()
	for i, n := range numbers {
		ms[i] = ownCopy(p.r.published[n-1])
		invokes[i] = Event{Kind: Publish, Phase: Invoke, Call: call, Session: p.n, Place: i, Message: n}
		if refuse != nil {
			invokes[i].Code = refuse(i)
		}
	}
	p.r.addLocked(invokes...)
	p.r.mu.Unlock()
	err := guarded(func() error { return p.Publisher.Publish(ctx, ms...) })
	for i, n := range numbers {
		one := messaging.ErrorAt(err, i)
		outcomes[i] = Event{Kind: Publish, Phase: phaseOf(one), Call: call, Session: p.n, Place: i, Message: n, Code: codeOf(one), Text: textOf(one)}
	}
	p.r.mu.Lock()
	for i, n := range numbers {
		outcomes[i].Diff = overwritten(p.r.published[n-1], ms[i])
	}
	p.r.addLocked(outcomes...)
	p.r.mu.Unlock()
	for i := range ms {
		scribble(&ms[i])
	}
	return err
}

// huge is from how many bytes on a body is not copied: it is one that is to be
// refused.
const huge = 1 << 18

// ownCopy returns m with a body and headers of its own.
func ownCopy(m messaging.Message) messaging.Message {
	m.Headers = slices.Clone(m.Headers)
	if len(m.Body) < huge {
		m.Body = slices.Clone(m.Body)
	}
	return m
}

// overwritten says what a Publish changed in its argument.
func overwritten(before, after messaging.Message) string {
	if before.ID != after.ID {
		return fmt.Sprintf("id %q, was %q", after.ID, before.ID)
	}
	before.ID, after.ID = "same", "same"
	if len(before.Body) >= huge {
		before.Body, after.Body = nil, nil
	}
	return difference(before, after)
}

// scribble uses the memory of a message again, as its owner may, and appends
// to it. The body's first line, which says what message it is, stays.
func scribble(m *messaging.Message) {
	if len(m.Body) < huge {
		for i := len(firstLine(m.Body)) + 1; i < len(m.Body); i++ {
			m.Body[i] ^= 0xff
		}
		m.Body = append(m.Body, "scribbled over what was behind the body"...)
	}
	for i := range m.Headers {
		m.Headers[i] = messaging.Header{Key: "scribbled", Value: "over"}
	}
	m.Headers = append(m.Headers, messaging.Header{Key: "scribbled", Value: "behind"})
}

// Close records that the publisher is closed.
func (p *publisher) Close() error { return p.r.closed(p.n, p.Publisher.Close) }

func (r *recorder) closed(session int, close func() error) error {
	call := r.call()
	r.add(Event{Kind: Close, Phase: Invoke, Call: call, Session: session})
	err := guarded(close)
	r.add(Event{Kind: Close, Phase: phaseOf(err), Call: call, Session: session, Code: codeOf(err), Text: textOf(err)})
	return err
}

// subscriber records what a subscriber of either flavour does.
type subscriber struct {
	inner messaging.Subscriber
	r     *recorder
	n     int // session
}

// Receive records the call and its deliveries.
func (s *subscriber) Receive(ctx context.Context, max int) (ds []*messaging.Delivery, err error) {
	call := s.r.call()
	s.r.add(Event{Kind: Receive, Phase: Invoke, Call: call, Session: s.n, Max: max})
	err = guarded(func() (err error) { ds, err = s.inner.Receive(ctx, max); return err })
	return s.r.received(s.n, call, ds, err)
}

// received records what a Receive returned, and returns what of it a caller
// can use: deliveries that are not nil, or an error.
func (r *recorder) received(session, call int, ds []*messaging.Delivery, err error) ([]*messaging.Delivery, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && len(ds) == 0 {
		// A loop around it would spin.
		err = fmt.Errorf("%w: no deliveries and no error", errNonsense)
	}
	// A Receive that fails has no effect: what was arriving serves the next.
	phase := OK
	if err != nil {
		phase = Fail
	}
	r.addLocked(Event{Kind: Receive, Phase: phase, Call: call, Session: session, Max: len(ds), Code: codeOf(err), Text: textOf(err)})
	for i, d := range ds {
		if d == nil {
			r.addLocked(Event{Kind: Note, Call: call, Session: session, Place: i, Text: "a nil delivery"})
			continue
		}
		n, diff := r.identify(d.Message)
		r.delivered++
		r.deliveries[d] = r.delivered
		r.addLocked(Event{
			Kind: Deliver, Phase: OK, Call: call, Session: session, Place: i, Message: n, Diff: diff,
			Delivery: r.deliveries[d], Lease: r.lease(session, d), ID: d.ID,
			Partition: d.Partition, Offset: string(d.Offset), Attempt: d.Attempt, Redelivered: d.Redelivered, Published: d.Published.Round(0).UTC(),
		})
	}
	if err != nil {
		return nil, err
	}
	ds = slices.DeleteFunc(slices.Clone(ds), func(d *messaging.Delivery) bool { return d == nil })
	if len(ds) == 0 {
		return nil, fmt.Errorf("%w: only nil deliveries", errNonsense)
	}
	return ds, nil
}

// watched is a lease and, while something that it holds is unsettled, the
// goroutine that waits for its end.
type watched struct {
	n    int
	open int           // unsettled deliveries of a queue; a stream's lease is always watched
	stop chan struct{} // ends the goroutine; nil: there is none
}

// epochOf begins the note of a stream's lease that says its epoch.
const epochOf = "epoch "

// lease returns the number of the lease of d, which has come, and watches it.
// It is called with mu held.
func (r *recorder) lease(session int, d *messaging.Delivery) int {
	l := d.Lease
	if l == nil {
		return 0
	}
	w := r.leases[l]
	if w == nil {
		w = &watched{n: len(r.leases) + 1}
		r.leases[l] = w
		if l.Epoch != "" && d.Partition != "" {
			r.addLocked(Event{Kind: Note, Session: session, Lease: w.n, Text: epochOf + l.Epoch})
		}
	}
	w.open++
	if w.stop == nil {
		stop := make(chan struct{})
		w.stop = stop
		r.watching.Go(func() { r.watch(session, l, w.n, stop) })
	}
	return w.n
}

// unwatch ends the watch of a queue's lease when nothing is left that it
// holds. It is called with mu held.
func (r *recorder) unwatch(l *messaging.Lease) {
	if w := r.leases[l]; w != nil {
		if w.open--; w.open == 0 && w.stop != nil {
			close(w.stop)
			w.stop = nil
		}
	}
}

func (r *recorder) watch(session int, l *messaging.Lease, n int, stop <-chan struct{}) {
	ending, lost := l.Ending(), l.Lost()
	for lost != nil {
		select {
		case <-ending:
			r.add(Event{Kind: Ending, Session: session, Lease: n})
			ending = nil
		case <-lost:
			if ending != nil {
				r.add(Event{Kind: Ending, Session: session, Lease: n})
			}
			r.add(Event{Kind: Lost, Session: session, Lease: n})
			lost = nil
		case <-stop:
			return
		case <-r.stop:
			return
		}
	}
}

// settle records a settle of ds and its outcomes.
func (s *subscriber) settle(kind Kind, delay time.Duration, ds []*messaging.Delivery, do func() error) error {
	call := s.r.call()
	events := make([]Event, len(ds))
	s.r.mu.Lock()
	for i, d := range ds {
		events[i] = Event{Kind: kind, Phase: Invoke, Call: call, Session: s.n, Place: i, Delivery: s.r.deliveries[d], Delay: delay}
		if d != nil {
			events[i].Partition, events[i].Offset = d.Partition, string(d.Offset)
		}
	}
	s.r.addLocked(events...)
	s.r.mu.Unlock()
	err := guarded(do)
	for i := range events {
		one := messaging.ErrorAt(err, i)
		events[i].Phase, events[i].Code, events[i].Text = phaseOf(one), codeOf(one), textOf(one)
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.addLocked(events...)
	for i, d := range ds {
		if kind != Commit && d != nil && d.Partition == "" && events[i].Phase == OK {
			s.r.unwatch(d.Lease)
		}
	}
	return err
}

// Release records the call.
func (s *subscriber) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	return s.settle(Release, 0, ds, func() error { return s.inner.Release(ctx, ds...) })
}

// Capabilities are the subscriber's.
func (s *subscriber) Capabilities() (c messaging.Capabilities) {
	if err := guarded(func() error { c = s.inner.Capabilities(); return nil }); err != nil {
		s.r.add(Event{Kind: Note, Session: s.n, Code: Panicked, Text: "Capabilities " + textOf(err)})
	}
	return c
}

// Close records the call.
func (s *subscriber) Close() error { return s.r.closed(s.n, s.inner.Close) }

// queue records what a queue's subscriber does.
type queue struct{ subscriber }

// Ack records the call.
func (q *queue) Ack(ctx context.Context, ds ...*messaging.Delivery) error {
	return q.settle(Ack, 0, ds, func() error { return q.inner.(messaging.QueueSubscriber).Ack(ctx, ds...) })
}

// Nack records the call.
func (q *queue) Nack(ctx context.Context, delay time.Duration, ds ...*messaging.Delivery) error {
	return q.settle(Nack, delay, ds, func() error { return q.inner.(messaging.QueueSubscriber).Nack(ctx, delay, ds...) })
}

// stream records what a stream's subscriber does.
type stream struct{ subscriber }

// Commit records the call.
func (s *stream) Commit(ctx context.Context, ds ...*messaging.Delivery) error {
	return s.settle(Commit, 0, ds, func() error { return s.inner.(messaging.StreamSubscriber).Commit(ctx, ds...) })
}

var (
	_ messaging.QueueSubscriber  = (*queue)(nil)
	_ messaging.StreamSubscriber = (*stream)(nil)
)
