package rabbitmq

import (
	"maps"
	"slices"

	"github.com/fa5182d2/messaging"
)

// Crash ends a subscriber as the end of its process would: its sockets are
// gone, and nothing was given back in order.
func Crash(s messaging.Subscriber) error {
	q := s.(*queue)
	q.end(messaging.ErrClosed)
	q.link.cancel()
	q.current.Load().c.wire.abandon()
	q.link.stop()
	q.mu.Lock()
	select {
	case <-q.closing:
		q.mu.Unlock()
		return nil
	default:
	}
	close(q.closing)
	close(q.closed)
	q.mu.Unlock()
	q.delayer.stop()
	return nil
}

// DelayQueues returns the names of the delay queues that a subscriber has
// declared.
func DelayQueues(s messaging.Subscriber) []string {
	d := s.(*queue).delayer
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.declared))
}

// Broker returns the URL of a RabbitMQ that tests share.
var Broker = broker
