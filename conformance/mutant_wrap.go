package conformance

import (
	"context"
	"net/url"
	"time"

	"github.com/fa5182d2/messaging"
)

// wrapping is a backend around another one of both flavours. What is set
// wraps what was opened; u is its URL.
type wrapping struct {
	messaging.Backend
	url       func(u *url.URL) *url.URL // what is opened instead
	publisher func(p messaging.Publisher, u *url.URL) messaging.Publisher
	queue     func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber
	stream    func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber
}

// around puts w around the backend of t.
func (w *wrapping) around(t *Target) { w.Backend, t.Backend = t.Backend, w }

func (w *wrapping) address(u *url.URL) *url.URL {
	if w.url == nil {
		return u
	}
	clone := *u
	return w.url(&clone)
}

// OpenPublisher implements messaging.Backend.
func (w *wrapping) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	p, err := w.Backend.OpenPublisher(ctx, w.address(u))
	if err == nil && w.publisher != nil {
		p = w.publisher(p, u)
	}
	return p, err
}

// OpenQueue implements messaging.QueueBackend.
func (w *wrapping) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	q, err := w.Backend.(messaging.QueueBackend).OpenQueue(ctx, w.address(u))
	if err == nil && w.queue != nil {
		q = w.queue(q, u)
	}
	return q, err
}

// OpenStream implements messaging.StreamBackend.
func (w *wrapping) OpenStream(ctx context.Context, u *url.URL) (messaging.StreamSubscriber, error) {
	s, err := w.Backend.(messaging.StreamBackend).OpenStream(ctx, w.address(u))
	if err == nil && w.stream != nil {
		s = w.stream(s, u)
	}
	return s, err
}

// queueWrap is a queue's subscriber around another one, in which what is set
// is done instead.
type queueWrap struct {
	messaging.QueueSubscriber
	receive func(ctx context.Context, max int) ([]*messaging.Delivery, error)
	release func(ctx context.Context, ds []*messaging.Delivery) error
	ack     func(ctx context.Context, ds []*messaging.Delivery) error
	nack    func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error
	caps    func() messaging.Capabilities
	close   func() error
}

// Unwrap returns the inner one, for hooks.
func (q *queueWrap) Unwrap() messaging.Subscriber { return q.QueueSubscriber }

// Receive implements messaging.Subscriber.
func (q *queueWrap) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	if q.receive != nil {
		return q.receive(ctx, max)
	}
	return q.QueueSubscriber.Receive(ctx, max)
}

// Release implements messaging.Subscriber.
func (q *queueWrap) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	if q.release != nil {
		return q.release(ctx, ds)
	}
	return q.QueueSubscriber.Release(ctx, ds...)
}

// Ack implements messaging.QueueSubscriber.
func (q *queueWrap) Ack(ctx context.Context, ds ...*messaging.Delivery) error {
	if q.ack != nil {
		return q.ack(ctx, ds)
	}
	return q.QueueSubscriber.Ack(ctx, ds...)
}

// Nack implements messaging.QueueSubscriber.
func (q *queueWrap) Nack(ctx context.Context, delay time.Duration, ds ...*messaging.Delivery) error {
	if q.nack != nil {
		return q.nack(ctx, delay, ds)
	}
	return q.QueueSubscriber.Nack(ctx, delay, ds...)
}

// Capabilities implements messaging.Subscriber.
func (q *queueWrap) Capabilities() messaging.Capabilities {
	if q.caps != nil {
		return q.caps()
	}
	return q.QueueSubscriber.Capabilities()
}

// Close implements messaging.Subscriber.
func (q *queueWrap) Close() error {
	if q.close != nil {
		return q.close()
	}
	return q.QueueSubscriber.Close()
}

// streamWrap is a stream's subscriber around another one, in which what is set
// is done instead.
type streamWrap struct {
	messaging.StreamSubscriber
	receive func(ctx context.Context, max int) ([]*messaging.Delivery, error)
	release func(ctx context.Context, ds []*messaging.Delivery) error
	commit  func(ctx context.Context, ds []*messaging.Delivery) error
	close   func() error
}

// Unwrap returns the inner one, for hooks.
func (s *streamWrap) Unwrap() messaging.Subscriber { return s.StreamSubscriber }

// Receive implements messaging.Subscriber.
func (s *streamWrap) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	if s.receive != nil {
		return s.receive(ctx, max)
	}
	return s.StreamSubscriber.Receive(ctx, max)
}

// Release implements messaging.Subscriber.
func (s *streamWrap) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	if s.release != nil {
		return s.release(ctx, ds)
	}
	return s.StreamSubscriber.Release(ctx, ds...)
}

// Commit implements messaging.StreamSubscriber.
func (s *streamWrap) Commit(ctx context.Context, ds ...*messaging.Delivery) error {
	if s.commit != nil {
		return s.commit(ctx, ds)
	}
	return s.StreamSubscriber.Commit(ctx, ds...)
}

// Close implements messaging.Subscriber.
func (s *streamWrap) Close() error {
	if s.close != nil {
		return s.close()
	}
	return s.StreamSubscriber.Close()
}
