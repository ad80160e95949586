package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// lifecycleMutants break the rules of lifecycleRules.
func lifecycleMutants() []Mutant {
	return []Mutant{
		{Name: "window-ignored", Breaks: "L01", Flavour: ForBoth, About: "holds one delivery more than its window", Target: func(t *Target) { w := &wrapping{url: widerWindow}; w.around(t); claimWindow(w) }},
		{Name: "hidden-prefetch", Breaks: "L01", Flavour: ForQueue, About: "takes more than was asked for and keeps it to itself", Target: hidePrefetch},
		{Name: "window-shrinks", Breaks: "L01", Flavour: ForQueue, About: "each nack costs a place in the window for ever", Target: breakQueues(shrinkingWindow)},
		{Name: "holds-only-while-receiving", Breaks: "L02", Flavour: ForQueue, About: "gives everything back when nobody calls Receive for a while", Target: breakQueues(holdWhileReceiving)},
		{Name: "skips-after-pause", Breaks: "L02", Flavour: ForStream, About: "after a pause, everything in hand comes again", Target: breakStreams(releaseAfterPause)},
		{Name: "second-close-fails", Breaks: "L05", Flavour: ForBoth, About: "a second Close returns an error", Target: breakBoth(closeOnce)},
		{Name: "release-after-close-fails", Breaks: "L05", Flavour: ForQueue, About: "a Release after Close is ErrClosed", Target: breakQueues(releaseAfterClose)},
		{Name: "never-resumes", Breaks: "L06", Flavour: ForBoth, About: "a publisher that failed once fails for ever", Target: func(t *Target) { (&wrapping{publisher: failsForEver}).around(t) }},
		{Name: "missing-channel-hidden", Breaks: "L06", Flavour: ForBoth, About: "a Receive waits for ever for what was deleted", Target: breakBoth(hideNotFound)},
		{Name: "slow-after-idle", Breaks: "L06", Flavour: ForBoth, About: "what comes after 40 idle seconds is ten seconds late", Target: breakReceive(slowAfterIdle)},
		{Name: "leaks-a-goroutine", Breaks: "L07", Flavour: ForBoth, About: "one subscriber in ten leaves a goroutine behind", Target: leaks(10, 1)},
		{Name: "leaks-crowds", Breaks: "L07", Flavour: ForBoth, About: "each subscriber leaves more goroutines behind than there are others", Target: leaks(1, 20)},
		{Name: "returns-nothing", Breaks: "L08", Flavour: ForBoth, About: "one Receive in fifty returns neither deliveries nor an error", Target: returnNothing(50)},
		{Name: "returns-nothing-1-in-1000", Breaks: "L08", Flavour: ForBoth, About: "one Receive in a thousand returns neither deliveries nor an error", Target: returnNothing(1000)},
		{Name: "returns-both", Breaks: "L08", Flavour: ForBoth, About: "a Receive whose context ends meanwhile returns its deliveries with the error", Target: breakReceive(func() receiver {
			return func(ctx context.Context, max int, receive receiveFunc) ([]*messaging.Delivery, error) {
				ds, err := receive(ctx, max)
				if err == nil && max == 2 {
					err = errors.New("and an error")
				}
				return ds, err
			}
		})},
		{Name: "receive-deaf", Breaks: "L09", Flavour: ForBoth, About: "a Receive does not end with its context", Target: breakReceive(func() receiver {
			return func(ctx context.Context, max int, receive receiveFunc) ([]*messaging.Delivery, error) {
				return receive(context.WithoutCancel(ctx), max)
			}
		})},
		{Name: "publish-waits-its-turn", Breaks: "L09", Flavour: ForBoth, About: "a Publish waits for the one before it, whatever its context says", Target: func(t *Target) { (&wrapping{publisher: publishWaitsItsTurn}).around(t) }},
		{Name: "cancelled-receive-loses", Breaks: "L09", Flavour: ForQueue, About: "what arrives for a Receive that is cancelled meanwhile is held by nobody", Target: breakQueues(cancelledLoses)},
		{Name: "second-settle-taken", Breaks: "L10", Flavour: ForQueue, About: "a second Ack is nil", Target: breakQueues(secondSettle)},
		{Name: "nil-delivery-panics", Breaks: "L10", Flavour: ForBoth, About: "settling a nil delivery panics", Target: breakBoth(nilPanics)},
		{Name: "error-quotes-password", Breaks: "L10", Flavour: ForBoth, About: "the error of opening quotes the whole URL", Target: quoteURL},
		{Name: "unknown-parameter-ignored", Breaks: "L10", Flavour: ForBoth, About: "a parameter that nobody knows is ignored", Target: func(t *Target) { (&wrapping{url: dropUnknown}).around(t) }},
	}
}

func breakQueues(f func(messaging.QueueSubscriber) messaging.QueueSubscriber) func(*Target) {
	return func(t *Target) {
		(&wrapping{queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber { return f(q) }}).around(t)
	}
}

func breakStreams(f func(messaging.StreamSubscriber) messaging.StreamSubscriber) func(*Target) {
	return func(t *Target) {
		(&wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber { return f(s) }}).around(t)
	}
}

// breakBoth breaks what both flavours have, by changing their wraps.
func breakBoth(f func(*queueWrap, *streamWrap)) func(*Target) {
	return func(t *Target) {
		(&wrapping{
			queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
				w := &queueWrap{QueueSubscriber: q}
				f(w, nil)
				return w
			},
			stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
				w := &streamWrap{StreamSubscriber: s}
				f(nil, w)
				return w
			},
		}).around(t)
	}
}

// receiver is a broken Receive around an honest one.
type receiver func(context.Context, int, receiveFunc) ([]*messaging.Delivery, error)

func breakReceive(f func() receiver) func(*Target) {
	return breakBoth(func(q *queueWrap, s *streamWrap) {
		broken := f()
		if q != nil {
			q.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				return broken(ctx, max, q.QueueSubscriber.Receive)
			}
			return
		}
		s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			return broken(ctx, max, s.StreamSubscriber.Receive)
		}
	})
}

func returnNothing(every int) func(*Target) {
	return func(t *Target) {
		var n nth
		breakReceive(func() receiver {
			return func(ctx context.Context, max int, receive receiveFunc) ([]*messaging.Delivery, error) {
				if n.in(every) {
					return nil, nil
				}
				return receive(ctx, max)
			}
		})(t)
	}
}

func widerWindow(u *url.URL) *url.URL {
	q := u.Query()
	if n, err := strconv.Atoi(q.Get("inflight")); err == nil {
		q.Set("inflight", strconv.Itoa(n+1))
		u.RawQuery = q.Encode()
	}
	return u
}

// claimWindow makes what w opens claim the window that the URL asked for.
func claimWindow(w *wrapping) {
	claim := func(c messaging.Capabilities, u *url.URL) messaging.Capabilities {
		if n, err := strconv.Atoi(u.Query().Get("inflight")); err == nil {
			c.Window = n
		}
		return c
	}
	w.queue = func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
		return &queueWrap{QueueSubscriber: q, caps: func() messaging.Capabilities { return claim(q.Capabilities(), u) }}
	}
	w.stream = func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		return &claiming{streamWrap{StreamSubscriber: s}, claim(s.Capabilities(), u)}
	}
}

// claiming is a stream's subscriber with other capabilities.
type claiming struct {
	streamWrap
	caps messaging.Capabilities
}

// Capabilities implements messaging.Subscriber.
func (c *claiming) Capabilities() messaging.Capabilities { return c.caps }

// hidePrefetch has queues take five more than their window, which they keep to
// themselves until somebody asks.
func hidePrefetch(t *Target) {
	w := &wrapping{url: func(u *url.URL) *url.URL {
		for range 5 {
			u = widerWindow(u)
		}
		return u
	}}
	w.around(t)
	claimWindow(w)
	claimed := w.queue
	w.queue = func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
		return hiddenPrefetch(claimed(q, u))
	}
	w.stream = nil
}

func hiddenPrefetch(q messaging.QueueSubscriber) messaging.QueueSubscriber {
	var mu sync.Mutex
	var hidden []*messaging.Delivery
	return &queueWrap{QueueSubscriber: q, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		mu.Lock()
		if n := min(max, len(hidden)); n > 0 && max > 0 {
			ds := slices.Clone(hidden[:n])
			hidden = hidden[n:]
			mu.Unlock()
			return ds, nil
		}
		mu.Unlock()
		if max < 1 {
			return q.Receive(ctx, max)
		}
		ds, err := q.Receive(ctx, max+5)
		if len(ds) > max {
			mu.Lock()
			hidden = append(hidden, ds[max:]...)
			mu.Unlock()
			ds = ds[:max]
		}
		return ds, err
	}}
}

// shrinkingWindow takes, beside what is asked for, one that it keeps for each
// nack.
func shrinkingWindow(q messaging.QueueSubscriber) messaging.QueueSubscriber {
	var owed atomic.Int64
	return &queueWrap{
		QueueSubscriber: q,
		nack: func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
			owed.Add(1)
			return q.Nack(ctx, delay, ds...)
		},
		receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			for max > 0 && owed.Load() > 0 {
				short, cancel := context.WithTimeout(ctx, time.Millisecond)
				_, err := q.Receive(short, 1)
				cancel()
				if err != nil {
					break
				}
				owed.Add(-1)
			}
			return q.Receive(ctx, max)
		},
	}
}

// inHand follows what a subscriber has in hand.
type inHand struct {
	mu sync.Mutex
	ds map[*messaging.Delivery]bool
	t  *time.Timer
}

func newInHand() *inHand { return &inHand{ds: map[*messaging.Delivery]bool{}} }

func (h *inHand) add(ds []*messaging.Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		h.ds[d] = true
	}
}

func (h *inHand) take() []*messaging.Delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ds []*messaging.Delivery
	for d := range h.ds {
		ds = append(ds, d)
	}
	clear(h.ds)
	return ds
}

// after calls f when nobody calls after again for d.
func (h *inHand) after(d time.Duration, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.t != nil {
		h.t.Stop()
	}
	h.t = time.AfterFunc(d, f)
}

func (h *inHand) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.t != nil {
		h.t.Stop()
	}
}

func holdWhileReceiving(q messaging.QueueSubscriber) messaging.QueueSubscriber {
	h := newInHand()
	return &queueWrap{
		QueueSubscriber: q,
		receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := q.Receive(ctx, max)
			h.add(ds)
			h.after(2*q.Capabilities().Lease, func() { _ = q.Nack(context.Background(), 0, h.take()...) })
			return ds, err
		},
		close: func() error {
			h.stop()
			return q.Close()
		},
	}
}

func releaseAfterPause(s messaging.StreamSubscriber) messaging.StreamSubscriber {
	h := newInHand()
	return &streamWrap{
		StreamSubscriber: s,
		receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := s.Receive(ctx, max)
			h.add(ds)
			h.after(2*s.Capabilities().Lease, func() { _ = s.Release(context.Background(), h.take()...) })
			return ds, err
		},
		close: func() error {
			h.stop()
			return s.Close()
		},
	}
}

func closeOnce(q *queueWrap, s *streamWrap) {
	var closed atomic.Bool
	once := func(inner func() error) func() error {
		return func() error {
			if closed.Swap(true) {
				return errors.New("closed already")
			}
			return inner()
		}
	}
	if q != nil {
		q.close = once(q.QueueSubscriber.Close)
	} else {
		s.close = once(s.StreamSubscriber.Close)
	}
}

func releaseAfterClose(q messaging.QueueSubscriber) messaging.QueueSubscriber {
	var closed atomic.Bool
	return &queueWrap{
		QueueSubscriber: q,
		close:           func() error { closed.Store(true); return q.Close() },
		release: func(ctx context.Context, ds []*messaging.Delivery) error {
			if closed.Load() {
				return messaging.ErrClosed
			}
			return q.Release(ctx, ds...)
		},
	}
}

// failing is a publisher that fails for ever when it failed once.
type failing struct {
	messaging.Publisher
	failed atomic.Bool
}

func failsForEver(p messaging.Publisher, _ *url.URL) messaging.Publisher {
	return &failing{Publisher: p}
}

// Publish implements messaging.Publisher.
func (p *failing) Publish(ctx context.Context, ms ...messaging.Message) error {
	if p.failed.Load() {
		return errors.New("it failed before")
	}
	err := p.Publisher.Publish(ctx, ms...)
	if errors.Is(err, messaging.ErrUncertain) || errors.Is(err, context.DeadlineExceeded) {
		p.failed.Store(true)
	}
	return err
}

func hideNotFound(q *queueWrap, s *streamWrap) {
	hide := func(inner receiveFunc) receiveFunc {
		return func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := inner(ctx, max)
			if errors.Is(err, messaging.ErrNotFound) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return ds, err
		}
	}
	if q != nil {
		q.receive = hide(q.QueueSubscriber.Receive)
	} else {
		s.receive = hide(s.StreamSubscriber.Receive)
	}
}

// leak leaves goroutines behind until the target is closed.
// leaks leaves so many goroutines behind for one subscriber in every.
func leaks(every, goroutines int) func(*Target) {
	return func(t *Target) {
		over := make(chan struct{})
		inner := t.Close
		t.Close = func() {
			close(over)
			if inner != nil {
				inner()
			}
		}
		var n nth
		breakBoth(func(*queueWrap, *streamWrap) {
			if n.in(every) {
				for range goroutines {
					go func() { <-over }()
				}
			}
		})(t)
	}
}

// cancelledLoses goes on receiving when the caller's context has ended, as a
// long poll does that nobody waits for any more.
func cancelledLoses(q messaging.QueueSubscriber) messaging.QueueSubscriber {
	type result struct {
		ds  []*messaging.Delivery
		err error
	}
	return &queueWrap{QueueSubscriber: q, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		poll, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		came := make(chan result, 1)
		go func() {
			defer cancel()
			ds, err := q.Receive(poll, max)
			came <- result{ds, err}
		}()
		select {
		case r := <-came:
			if errors.Is(r.err, context.DeadlineExceeded) && ctx.Err() == nil {
				return q.Receive(ctx, max)
			}
			return r.ds, r.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

func secondSettle(q messaging.QueueSubscriber) messaging.QueueSubscriber {
	return &queueWrap{QueueSubscriber: q, ack: func(ctx context.Context, ds []*messaging.Delivery) error {
		err := q.Ack(ctx, ds...)
		if errors.Is(err, messaging.ErrLost) {
			return nil
		}
		return err
	}}
}

func nilPanics(q *queueWrap, s *streamWrap) {
	if q != nil {
		q.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
			_ = ds[0].ID
			return q.QueueSubscriber.Ack(ctx, ds...)
		}
		return
	}
	s.commit = func(ctx context.Context, ds []*messaging.Delivery) error {
		_ = ds[0].ID
		return s.StreamSubscriber.Commit(ctx, ds...)
	}
}

// quoting is a backend whose errors quote its URLs.
type quoting struct{ *wrapping }

func quoteURL(t *Target) {
	w := &wrapping{}
	w.around(t)
	t.Backend = &quoting{w}
}

func quoted[T any](t T, err error, u *url.URL) (T, error) {
	if err != nil {
		err = fmt.Errorf("open %s: %w", u, err)
	}
	return t, err
}

// OpenQueue implements messaging.QueueBackend.
func (q *quoting) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	s, err := q.wrapping.OpenQueue(ctx, u)
	return quoted(s, err, u)
}

// OpenStream implements messaging.StreamBackend.
func (q *quoting) OpenStream(ctx context.Context, u *url.URL) (messaging.StreamSubscriber, error) {
	s, err := q.wrapping.OpenStream(ctx, u)
	return quoted(s, err, u)
}

func dropUnknown(u *url.URL) *url.URL {
	q := u.Query()
	q.Del("no-such-parameter")
	u.RawQuery = q.Encode()
	return u
}
