package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/fa5182d2/messaging"
)

// consuming is a Consume that runs, recorded: its handlers, its end, and what
// its context's end was.
type consuming struct {
	r    *run
	n    int
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// consumes starts Consume on s with a handler whose starts and ends are
// recorded.
func (r *run) consumes(s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) *consuming {
	n := sessionOf(s)
	r.recorder.mu.Lock()
	session := &r.h.Sessions[n-1]
	session.Consume = consumption(session, o)
	r.recorder.mu.Unlock()
	o = r.hearing(n, o)
	ctx, cancel := context.WithCancel(r.ctx)
	c := &consuming{r: r, n: n, stop: cancel, done: make(chan struct{})}
	r.wg.Go(func() {
		defer close(c.done)
		c.err = guarded(func() error { return r.consume(ctx, s, r.recorded(n, h), o) })
		r.add(Event{Kind: Drained, Session: n, Code: codeOf(c.err), Text: textOf(c.err)})
	})
	return c
}

// told begins the note of what OnError heard of a delivery.
const told = "OnError: "

// hearing is o with an OnError that records what it hears.
func (r *run) hearing(session int, o *messaging.ConsumeOptions) *messaging.ConsumeOptions {
	heard := messaging.ConsumeOptions{}
	if o != nil {
		heard = *o
	}
	heard.OnError = func(d *messaging.Delivery, err error) {
		r.recorder.mu.Lock()
		defer r.recorder.mu.Unlock()
		r.addLocked(Event{Kind: Note, Session: session, Delivery: r.deliveries[d], Text: told + textOf(err)})
	}
	return &heard
}

// sessionOf returns the number of a recorded subscriber's session.
func sessionOf(s messaging.Subscriber) int {
	switch s := s.(type) {
	case *queue:
		return s.n
	case *stream:
		return s.n
	}
	panic(fmt.Sprintf("a %T is not recorded", s))
}

func consumption(s *Session, o *messaging.ConsumeOptions) *Consumption {
	if o == nil {
		o = &messaging.ConsumeOptions{}
	}
	c := &Consumption{
		Concurrency: cmp.Or(o.Concurrency, 1), Order: s.Order, Once: o.Semantics == messaging.AtMostOnce,
		MaxAttempts: o.MaxAttempts, DeadLetter: o.DeadLetter != nil, Grace: cmp.Or(o.Grace, 30*time.Second),
		Backoff: 50 * time.Millisecond, // half of 100 ms, which is the least of the default
	}
	if o.Backoff != nil {
		c.Backoff = o.Backoff(1, errRejected)
	}
	if o.Order != 0 {
		c.Order = o.Order.String()
	}
	return c
}

// errRejected marks what a scenario's handler rejects, so that the history
// can tell.
var errRejected = errors.New("rejected by the scenario")

// recorded wraps h so that its starts and ends are in the history.
func (r *run) recorded(session int, h messaging.Handler) messaging.Handler {
	return func(ctx context.Context, d *messaging.Delivery) (err error) {
		r.recorder.mu.Lock()
		n := r.deliveries[d]
		message := 0
		if n > 0 {
			message, _ = r.identify(d.Message)
		}
		e := Event{Kind: Start, Session: session, Delivery: n, Message: message, Partition: d.Partition, Offset: string(d.Offset), Attempt: d.Attempt}
		r.addLocked(e)
		r.recorder.mu.Unlock()
		ended := false
		defer func() {
			e.Kind, e.Phase, e.Code, e.Text = End, OK, codeOf(err), textOf(err)
			switch {
			case !ended:
				e.Phase, e.Code = Fail, Panicked
			case ctx.Err() != nil:
				e.Phase, e.Text = Info, textOf(context.Cause(ctx))
				e.Code = codeOf(context.Cause(ctx))
			case err != nil:
				e.Phase = Fail
			}
			if errors.Is(err, errRejected) {
				e.Code = Rejected
			}
			r.add(e)
		}()
		err = h(ctx, d)
		ended = true
		return err
	}
}

// end ends the Consume's context and waits for it to return, for at most
// bound.
func (c *consuming) end(bound time.Duration) error {
	c.r.add(Event{Kind: Stop, Session: c.n})
	c.stop()
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-c.done:
		return c.err
	case <-t.C:
		panic(failure{err: fmt.Errorf("%w: Consume %v after its context ended", errHung, bound), hung: true})
	}
}

// letters is a DeadLetter that records what it is given, fails while it is
// told to, and gives the rest to a publisher.
type letters struct {
	r     *run
	n     int // session of the consumer
	inner messaging.Publisher
	fails func() error // nil: never
	taken func(n int)  // hears what was taken; nil: nobody
}

// Publish records the dead letters.
func (l *letters) Publish(ctx context.Context, ms ...messaging.Message) error {
	events := make([]Event, len(ms))
	call := l.r.call()
	l.r.recorder.mu.Lock()
	for i, m := range ms {
		n, diff := l.r.identifyDead(m)
		attempts, _ := strconv.Atoi(m.Headers.Get("messaging-attempts"))
		at, _ := time.Parse(time.RFC3339, m.Headers.Get("messaging-time"))
		events[i] = Event{
			Kind: Dead, Phase: Invoke, Call: call, Session: l.n, Place: i, Message: n, Diff: diff, ID: m.ID, Attempt: attempts,
			Published: at.UTC(), Text: clip(m.Headers.Get("messaging-reason"), 600),
		}
	}
	l.r.addLocked(events...)
	l.r.recorder.mu.Unlock()
	var err error
	if l.fails != nil {
		err = l.fails()
	}
	if err == nil {
		err = guarded(func() error { return l.inner.Publish(ctx, ms...) })
	}
	for i := range events {
		one := messaging.ErrorAt(err, i)
		events[i].Phase, events[i].Code, events[i].Text = phaseOf(one), codeOf(one), textOf(one)
	}
	l.r.add(events...)
	for _, e := range events {
		if e.Phase == OK && l.taken != nil {
			l.taken(e.Message)
		}
	}
	return err
}

// Close does nothing: the publisher is the run's.
func (l *letters) Close() error { return nil }

// identifyDead is identify for a dead letter: its own headers come beside
// those of the message. It is called with mu held.
func (r *recorder) identifyDead(m messaging.Message) (int, string) {
	source := m
	source.Headers = nil
	own := map[string]string{}
	for _, h := range m.Headers {
		switch h.Key {
		case "messaging-reason", "messaging-attempts", "messaging-origin", "messaging-time":
			own[h.Key] = h.Value
		default:
			source.Headers = append(source.Headers, h)
		}
	}
	n, diff := r.identify(source)
	if diff != "" {
		return n, diff
	}
	for _, name := range []string{"messaging-reason", "messaging-origin"} {
		if own[name] == "" {
			return n, "no header " + name
		}
	}
	if _, err := strconv.Atoi(own["messaging-attempts"]); err != nil {
		return n, fmt.Sprintf("header messaging-attempts is %q", own["messaging-attempts"])
	}
	if _, err := time.Parse(time.RFC3339, own["messaging-time"]); err != nil {
		return n, fmt.Sprintf("header messaging-time is %q", own["messaging-time"])
	}
	return n, ""
}
