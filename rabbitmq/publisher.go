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

// closeBound is how long Close of a publisher waits for calls under way.
const closeBound = 5 * time.Second

// publisher publishes to an exchange, or to a queue.
type publisher struct {
	o      *options
	pipe   *pipe
	timers sync.Pool
	spare  sync.Pool // of *batch

	calls   atomic.Int64  // under way; closing is added when Close was called
	drained chan struct{} // holds one: closing, and no call is under way
	abort   chan struct{} // closed when Close does not wait any longer
	closed  chan struct{} // closed when the first Close has done its work
}

// closing is above any number of calls.
const closing = 1 << 62

// batch is the memory of one call.
type batch struct{ items []item }

// keptItems is up to how many messages a batch is used again.
const keptItems = 1024

func newPublisher(o *options, c *connection) *publisher {
	return &publisher{
		o: o, pipe: newPipe(o, o.exchange, c),
		drained: make(chan struct{}, 1), abort: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Publish implements messaging.Publisher.
func (p *publisher) Publish(ctx context.Context, msgs ...messaging.Message) error {
	defer p.leave()
	if p.calls.Add(1) >= closing {
		return p.failed(len(msgs), messaging.ErrClosed)
	}
	if len(msgs) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return p.failed(len(msgs), err)
	}
	m := p.batch(len(msgs))
	for i := range msgs {
		p.fill(&m.items[i], &msgs[i])
	}
	b := bound{ctx: ctx, timeout: p.o.timeout, abort: p.abort, aborted: messaging.ErrClosed, timers: &p.timers}
	p.pipe.publish(&b, m.items)
	b.end()
	err := p.outcome(m.items)
	p.giveBack(m)
	return err
}

// batch returns memory for n messages.
func (p *publisher) batch(n int) *batch {
	m, ok := p.spare.Get().(*batch)
	if !ok {
		m = new(batch)
	}
	if cap(m.items) < n {
		m.items = make([]item, n)
	}
	m.items = m.items[:n]
	return m
}

func (p *publisher) giveBack(m *batch) {
	clear(m.items)
	if cap(m.items) <= keptItems {
		p.spare.Put(m)
	}
}

// fill makes an item of m. One that AMQP cannot carry is done, with its error.
func (p *publisher) fill(it *item, m *messaging.Message) {
	it.key = m.Subject
	if p.o.exchange == "" {
		it.key = p.o.queue
	}
	it.p = amqp.Publishing{MessageId: m.ID, DeliveryMode: amqp.Persistent, Body: m.Body}
	if m.ID == "" {
		it.p.MessageId = messaging.NewID()
	}
	var err error
	it.p.Headers, err = p.o.table(m, p.o.exchange == "")
	switch {
	case err != nil:
	case len(m.ID) > mostName:
		err = fmt.Errorf("id of %d bytes: AMQP's message-id has at most %d: %w", len(m.ID), mostName, messaging.ErrTooLarge)
	case len(it.key) > mostName:
		err = fmt.Errorf("subject of %d bytes: AMQP's routing key has at most %d: %w", len(it.key), mostName, messaging.ErrTooLarge)
	}
	it.done, it.err = err != nil, err
}

// outcome is the error of a call with the errors of its messages, if any.
func (p *publisher) outcome(items []item) error {
	var errs []error
	for i := range items {
		if items[i].err == nil {
			continue
		}
		if errs == nil {
			errs = make([]error, len(items))
		}
		errs[i] = items[i].err
	}
	if errs == nil {
		return nil
	}
	return p.wrap(errs)
}

func (p *publisher) wrap(errs []error) error {
	return fmt.Errorf("rabbitmq: publish to %s: %w", p.o.destination(), &messaging.BatchError{Errs: errs})
}

// failed is the error of n messages that failed for one reason.
func (p *publisher) failed(n int, err error) error {
	if n == 0 {
		if err == messaging.ErrClosed {
			return fmt.Errorf("rabbitmq: publish to %s: %w", p.o.destination(), err)
		}
		return nil
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return p.wrap(errs)
}

func (p *publisher) leave() {
	if p.calls.Add(-1) == closing {
		select {
		case p.drained <- struct{}{}:
		default:
		}
	}
}

// Close implements messaging.Publisher.
func (p *publisher) Close() error {
	calls := p.calls.Or(closing)
	if calls >= closing {
		<-p.closed
		return nil
	}
	defer close(p.closed)
	defer p.pipe.stop()
	if calls == 0 {
		return nil
	}
	t := time.NewTimer(closeBound)
	defer t.Stop()
	select {
	case <-p.drained:
		return nil
	case <-t.C:
		close(p.abort)
		<-p.drained
		return fmt.Errorf("rabbitmq: close publisher to %s: gave up after %v on calls that the broker had not answered", p.o.destination(), closeBound)
	}
}
