package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// queue is a subscriber. What it holds belongs to its consumer, which lasts as
// long as a connection.
type queue struct {
	o       *options
	name    string
	version version
	current atomic.Pointer[consumer]
	link    *link[*consumer]
	delayer *delayer

	available chan struct{} // holds one: there may be something to hand over
	wanted    chan struct{} // closed by the first Receive
	want      sync.Once
	warn      sync.Once
	closing   chan struct{} // closed by Close
	closed    chan struct{} // closed when the first Close has done its work

	mu   sync.Mutex
	err  error         // why no call works any more
	done chan struct{} // closed when err is set
}

var _ messaging.QueueSubscriber = (*queue)(nil)

// newQueue makes a subscriber whose first connection is c.
func newQueue(ctx context.Context, o *options, c *connection) (*queue, error) {
	q := &queue{
		o: o, name: o.source(), version: c.version(),
		available: make(chan struct{}, 1), wanted: make(chan struct{}),
		closing: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
	}
	q.delayer = newDelayer(q)
	first, err := q.consumer(ctx, c)
	if err != nil {
		c.close()
		return nil, err
	}
	q.link = newLink(first, firstPause, q.connect, q.lost, q.failed)
	return q, nil
}

// connect opens a consumer on a connection of its own.
func (q *queue) connect(ctx context.Context) (*consumer, error) {
	c, err := q.o.dialer.dial(ctx)
	if err != nil {
		return nil, err
	}
	err = c.call(ctx, func(ch *amqp.Channel) error { return lookQueue(ch, q.name) })
	if err == nil {
		var s *consumer
		if s, err = q.consumer(ctx, c); err == nil {
			return s, nil
		}
	}
	c.close()
	return nil, err
}

// lost hears that a consumer has ended.
func (q *queue) lost(s *consumer) {
	if isRefusal(s.cause) {
		q.end(s.cause)
	}
	select {
	case <-q.done:
	default:
		q.o.say("rabbitmq: a subscriber's connection was lost, and what it held", "broker", q.o.dialer.addr, "queue", q.name, "cause", s.cause)
	}
}

// failed hears why a consumer could not be replaced.
func (q *queue) failed(err error) {
	q.o.say("rabbitmq: a subscriber cannot connect", "broker", q.o.dialer.addr, "queue", q.name, "error", err)
	if isRefusal(err) {
		q.end(err)
	}
}

// end makes every call return err, unless something has ended it before.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		close(q.done)
	}
}

func (q *queue) ended() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Capabilities implements messaging.Subscriber.
func (q *queue) Capabilities() messaging.Capabilities {
	c := messaging.Capabilities{
		Order:      messaging.Unordered,
		Attempts:   !q.o.classic,
		MaxMessage: q.o.maxMessage,
		Window:     q.o.inflight,
	}
	if q.delays() {
		c.MaxDelay = mostDelay
	}
	return c
}

// Receive implements messaging.Subscriber.
func (q *queue) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	if max < 1 {
		return nil, fmt.Errorf("rabbitmq: receive from queue %s: max is %d: want 1 or more", q.name, max)
	}
	q.want.Do(func() { close(q.wanted) })
	ds, err := q.receive(ctx, max)
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: receive from queue %s: %w", q.name, err)
	}
	return ds, nil
}

func (q *queue) receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	for {
		if err := q.ended(); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ds, more := q.current.Load().hand(max)
		if more {
			q.tell() // for another Receive
		}
		if len(ds) > 0 {
			return ds, nil
		}
		select {
		case <-q.available:
		case <-q.done:
		case <-ctx.Done():
		}
	}
}

// tell wakes a Receive.
func (q *queue) tell() {
	select {
	case q.available <- struct{}{}:
	default:
	}
}

// Close implements messaging.Subscriber.
func (q *queue) Close() error {
	q.mu.Lock()
	select {
	case <-q.closing:
		q.mu.Unlock()
		<-q.closed
		return nil
	default:
	}
	close(q.closing)
	q.mu.Unlock()
	defer close(q.closed)
	q.end(messaging.ErrClosed)
	s := q.current.Load()
	s.lose(nil)
	// It gives back in order; where the broker does not answer, the end of the
	// connection does.
	t := time.NewTimer(closeWait)
	defer t.Stop()
	select {
	case <-s.over:
	case <-t.C:
	}
	q.link.stop()
	q.delayer.stop()
	return nil
}
