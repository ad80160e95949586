package rabbitmq

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// A Nack with a delay publishes a copy to a delay queue, and acknowledges the
// message when the broker has confirmed the copy. A delay queue is a durable
// quorum queue without consumers, whose messages expire and are then
// dead-lettered, at least once, back to the queue that they came from.
//
// There is one for each of the delays that others are rounded up to, so that
// no message waits behind one that has longer to wait, and their number is
// bounded. Its name ends in the day, and it expires when two more have passed:
// a quorum queue's expiry starts at its declaration, whatever is put into it
// later, and takes what is in it along; so each is used on its own day only,
// and outlives what it was given by a day, even where the clocks of two users
// are hours apart.

// What delayHeader, a table, says of a message before it went through.
const (
	wasAttempts = "attempts" // how often it was delivered
	wasExchange = "exchange"
	wasKey      = "routing-key"
	wasDeaths   = "deaths" // the headers in which RabbitMQ keeps notes of dead-lettering
)

const (
	mostDelay = 24 * time.Hour
	day       = 24 * time.Hour

	// longestPrefix is how much of a queue's name goes into the names of its
	// delay queues.
	longestPrefix = 180
)

// delays says whether a Nack can have a delay. Up to 3.9 quorum queues know no
// time to live.
func (q *queue) delays() bool { return q.o.delays && q.version.atLeast(3, 10) }

// rounded returns the delay of the delay queue for d: up to 1 s a multiple of
// 50 ms, above that d and less than an eighth more, in eight steps from each
// power of two seconds to the next.
func rounded(d time.Duration) time.Duration {
	d = min(d, mostDelay)
	step := 50 * time.Millisecond
	if d > time.Second {
		step = time.Second / 8
		for limit := 2 * time.Second; d > limit; limit *= 2 {
			step *= 2
		}
	}
	return min((d+step-1)/step*step, mostDelay)
}

// delayer puts messages into delay queues, over a connection of its own which
// it opens when it is needed.
type delayer struct {
	q    *queue
	o    *options
	turn chan struct{} // holds one: who has it may open the pipe
	gone chan struct{} // closed by stop

	mu       sync.Mutex
	pipe     *pipe
	declared map[string]bool
}

func newDelayer(q *queue) *delayer {
	o := *q.o
	o.retry, o.maxMessage = true, 0
	return &delayer{q: q, o: &o, turn: make(chan struct{}, 1), gone: make(chan struct{}), declared: map[string]bool{}}
}

// stop closes the connection. Calls under way end.
func (d *delayer) stop() {
	close(d.gone)
	d.turn <- struct{}{} // nobody opens one any more
	d.mu.Lock()
	p := d.pipe
	d.mu.Unlock()
	if p != nil {
		p.stop()
	}
}

// open returns the pipe.
func (d *delayer) open(b *bound) (*pipe, error) {
	d.mu.Lock()
	p := d.pipe
	d.mu.Unlock()
	if p != nil {
		return p, nil
	}
	select {
	case d.turn <- struct{}{}:
	case <-d.gone:
		return nil, messaging.ErrClosed
	case <-b.ctx.Done():
		return nil, b.ctx.Err()
	}
	defer func() { <-d.turn }()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pipe == nil {
		d.pipe = newPipe(d.o, "", nil)
	}
	return d.pipe, nil
}

// name returns the name of the delay queue for a delay that is rounded, at a
// time.
func (d *delayer) name(delay time.Duration, at time.Time) string {
	prefix := d.q.name
	if len(prefix) > longestPrefix {
		prefix = fmt.Sprintf("%s-%x", prefix[:longestPrefix-17], sha256.Sum256([]byte(prefix)))[:longestPrefix]
	}
	return fmt.Sprintf("%s.delay.%d.%d", prefix, delay.Milliseconds(), at.Unix()/int64(day/time.Second))
}

// declare declares a delay queue, unless it has done so.
func (d *delayer) declare(b *bound, p *pipe, name string, delay time.Duration) error {
	d.mu.Lock()
	known := d.declared[name]
	d.mu.Unlock()
	if known {
		return nil
	}
	c, err := p.conns.get(b)
	if err != nil {
		return err
	}
	err = c.call(b.ctx, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{
			amqp.QueueTypeArg:           amqp.QueueTypeQuorum,
			amqp.QueueMessageTTLArg:     delay.Milliseconds(),
			amqp.QueueTTLArg:            (2*day + delay).Milliseconds(),
			amqp.QueueOverflowArg:       amqp.QueueOverflowRejectPublish, // which dead-lettering at least once needs
			"x-dead-letter-strategy":    "at-least-once",
			"x-dead-letter-exchange":    "",
			"x-dead-letter-routing-key": d.q.name,
		})
		return judged(err)
	})
	if err != nil {
		return fmt.Errorf("declare the delay queue %s (delay=none does without): %w", name, err)
	}
	d.mu.Lock()
	d.declared[name] = true
	d.mu.Unlock()
	return nil
}

func (d *delayer) forget(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.declared, name)
}

// put publishes copies to the delay queue for a delay.
func (d *delayer) put(b *bound, delay time.Duration, items []item) {
	p, err := d.open(b)
	if err != nil {
		fail(items, err)
		return
	}
	delay = rounded(delay)
	name := d.name(delay, time.Now())
	for range 2 {
		if err := d.declare(b, p, name, delay); err != nil {
			fail(items, err)
			return
		}
		for i := range items {
			items[i].key = name
		}
		p.publish(b, items)
		if !missing(items) {
			return
		}
		// Somebody has deleted it since it was declared.
		d.forget(name)
		again(items)
	}
}

// missing says whether a queue was missing for some.
func missing(items []item) bool {
	for i := range items {
		if errors.Is(items[i].err, messaging.ErrNotFound) {
			return true
		}
	}
	return false
}

func again(items []item) {
	for i := range items {
		if it := &items[i]; errors.Is(it.err, messaging.ErrNotFound) {
			it.done, it.err = false, nil
		}
	}
}

// copyOf is a delivery as it is published to a delay queue. Its time to live,
// if it has one, is over with it, and its user-id, which has to be that of who
// publishes, is left out.
func (q *queue) copyOf(r *Receipt) amqp.Publishing {
	n := &r.Delivery
	t := make(amqp.Table, len(n.Headers)+1)
	was, ok := n.Headers[delayHeader].(amqp.Table)
	if ok {
		was = maps.Clone(was)
	} else {
		deaths := amqp.Table{}
		for k, v := range n.Headers {
			if noteOfDelay(k) {
				deaths[k] = v
			}
		}
		was = amqp.Table{wasExchange: n.Exchange, wasKey: n.RoutingKey, wasDeaths: deaths}
	}
	was[wasAttempts] = int32(r.attempt)
	for k, v := range n.Headers {
		if k != "x-delivery-count" && k != "x-acquired-count" && !noteOfDelay(k) {
			t[k] = v
		}
	}
	t[delayHeader] = was
	return amqp.Publishing{
		Headers: t, ContentType: n.ContentType, ContentEncoding: n.ContentEncoding, DeliveryMode: amqp.Persistent,
		Priority: n.Priority, CorrelationId: n.CorrelationId, ReplyTo: n.ReplyTo, MessageId: n.MessageId,
		Timestamp: n.Timestamp, Type: n.Type, AppId: n.AppId, Body: n.Body,
	}
}

// noteOfDelay says whether RabbitMQ writes such a header when it dead-letters.
func noteOfDelay(name string) bool {
	return name == "x-death" || strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
}

// noted returns the notes of dead-lettering that a message had before it went
// through a delay queue: nil where it did not.
func noted(t amqp.Table) amqp.Table {
	was, ok := t[delayHeader].(amqp.Table)
	if !ok {
		return nil
	}
	if deaths, ok := was[wasDeaths].(amqp.Table); ok {
		return deaths
	}
	return amqp.Table{}
}
