package conformance

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

func makeTwice(t *Target) {
	t.unclaim("a settled message may come once more", "P08a", "P08b", "Q02", "Q03", "Q05", "Q10", "Q12", "Q15")
	odd := newOddness()
	w := &wrapping{queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
		if q.Capabilities().Order != messaging.Unordered {
			return q // a copy would be a second one of its key, unsettled
		}
		return newTwice(q, odd)
	}}
	w.around(t)
}

// twice delivers some of what was acknowledged once more.
type twice struct {
	*queueWrap
	odd *oddness

	mu    sync.Mutex
	again map[*messaging.Delivery]*messaging.Delivery // what will come once more when it is acknowledged: consumers may write to theirs
	more  []*messaging.Delivery                       // to be delivered once more
	ours  map[*messaging.Delivery]bool                // of the second time: whether it is unsettled
}

func newTwice(q messaging.QueueSubscriber, odd *oddness) *twice {
	w := &twice{odd: odd, again: map[*messaging.Delivery]*messaging.Delivery{}, ours: map[*messaging.Delivery]bool{}}
	w.queueWrap = &queueWrap{QueueSubscriber: q, receive: w.receive, ack: w.ack, nack: w.nack, release: w.release, close: w.closeAll}
	return w
}

func (w *twice) receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	w.mu.Lock()
	if n := len(w.more); n > 0 && max > 0 {
		d := w.more[n-1]
		w.more = w.more[:n-1]
		w.ours[d] = true
		w.mu.Unlock()
		return []*messaging.Delivery{d}, nil
	}
	w.mu.Unlock()
	ds, err := w.QueueSubscriber.Receive(ctx, max)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range ds {
		if w.odd.below(200) == 0 {
			again := &messaging.Delivery{Message: d.Message, Published: d.Published, Attempt: d.Attempt, Redelivered: true, Lease: new(messaging.Lease)}
			again.Headers, again.Body = slices.Clone(d.Headers), slices.Clone(d.Body)
			w.again[d] = again
		}
	}
	return ds, err
}

func (w *twice) ack(ctx context.Context, ds []*messaging.Delivery) error {
	err := w.settle(ds, func(inner []*messaging.Delivery) error { return w.QueueSubscriber.Ack(ctx, inner...) })
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range ds {
		if again := w.again[d]; again != nil && messaging.ErrorAt(err, i) == nil && w.ours != nil {
			delete(w.again, d)
			w.more = append(w.more, again)
		}
	}
	return err
}

func (w *twice) nack(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
	return w.settle(ds, func(inner []*messaging.Delivery) error { return w.QueueSubscriber.Nack(ctx, delay, inner...) })
}

func (w *twice) release(ctx context.Context, ds []*messaging.Delivery) error {
	return w.settle(ds, func(inner []*messaging.Delivery) error { return w.QueueSubscriber.Release(ctx, inner...) })
}

// settle settles ours here, and the others with do.
func (w *twice) settle(ds []*messaging.Delivery, do func([]*messaging.Delivery) error) error {
	w.mu.Lock()
	var inner []*messaging.Delivery
	var places []int
	all := &messaging.BatchError{Errs: make([]error, len(ds))}
	failed := false
	for i, d := range ds {
		if held, ours := w.ours[d]; ours {
			if !held {
				all.Errs[i], failed = messaging.ErrLost, true
			}
			w.ours[d] = false
			continue
		}
		inner, places = append(inner, d), append(places, i)
	}
	w.mu.Unlock()
	if len(inner) == len(ds) {
		return do(ds)
	}
	if len(inner) > 0 {
		err := do(inner)
		failed = failed || err != nil
		for k, i := range places {
			all.Errs[i] = messaging.ErrorAt(err, k)
		}
	}
	if !failed {
		return nil
	}
	return all
}

func (w *twice) closeAll() error {
	w.mu.Lock()
	for d := range w.ours {
		d.Lease.Lose()
	}
	w.more, w.ours = nil, nil
	w.mu.Unlock()
	return w.QueueSubscriber.Close()
}

func makeReplyLost(t *Target) {
	odd := newOddness()
	w := &wrapping{queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
		return newForgetful(q, odd)
	}}
	w.around(t)
}

// forgetful loses some of what it receives. The broker has delivered that, so
// it comes again when its lease would have ended, as one attempt more.
type forgetful struct {
	*queueWrap
	odd    *oddness
	closed chan struct{}

	mu sync.Mutex // held to begin to wait, and to close
	wg sync.WaitGroup
}

func newForgetful(q messaging.QueueSubscriber, odd *oddness) *forgetful {
	w := &forgetful{odd: odd, closed: make(chan struct{})}
	w.queueWrap = &queueWrap{QueueSubscriber: q, caps: inexact(q), receive: w.receive, close: w.closeAll}
	return w
}

func (w *forgetful) receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	for {
		ds, err := w.QueueSubscriber.Receive(ctx, max)
		if err != nil || w.odd.below(300) > 0 {
			return ds, err
		}
		if !w.forget(ds) {
			return ds, err
		}
	}
}

// forget reports whether ds are lost: not where w is closed.
func (w *forgetful) forget(ds []*messaging.Delivery) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
		return false
	default:
		w.wg.Go(func() { w.expire(ds) })
		return true
	}
}

// expire waits for the end of the lease of what nobody has.
func (w *forgetful) expire(ds []*messaging.Delivery) {
	t := time.NewTimer(w.QueueSubscriber.Capabilities().Lease)
	defer t.Stop()
	select {
	case <-t.C:
		_ = w.Nack(context.Background(), 0, ds...)
	case <-w.closed:
	case <-ds[0].Lease.Lost(): // such as by a crash
	}
}

func (w *forgetful) closeAll() error {
	w.mu.Lock()
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
	w.mu.Unlock()
	err := w.QueueSubscriber.Close()
	w.wg.Wait()
	return err
}
