package messaging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Handler does the work for one delivery. It returns nil when the work is
// done, an error when it is to be tried again, and an error wrapped by
// [Reject] when trying again is of no use. A panic, and runtime.Goexit, count
// as an error that holds the stack. It must not settle the delivery, and not
// keep it after it has returned.
//
// ctx has the values of Consume's context. It ends with cause [ErrLost] when
// the delivery's lease is lost, and with the cause [ErrGrace] when Consume was
// told to end and Grace is over. It may be shared with other deliveries, one
// after the other, and does not end when the handler returns, but at the
// latest when Consume does. AtMostOnce has settled the delivery before: then
// its lease does not matter any more.
type Handler func(ctx context.Context, d *Delivery) error

// Semantics are the delivery semantics of [Consume].
type Semantics int

const (
	// AtLeastOnce settles after the handler returned nil: when something
	// fails in between, the message is handled again.
	AtLeastOnce Semantics = iota
	// AtMostOnce settles before the handler starts: when something fails in
	// between, the message is not handled at all. What may have been delivered
	// before is settled unhandled.
	AtMostOnce
)

// ConsumeOptions are the options of [Consume]. The zero value works.
type ConsumeOptions struct {
	// Concurrency is the most handlers that run at once, and beside them the
	// most publishes to DeadLetter. 0 means 1.
	Concurrency int

	// Order is the order of handling. 0 means as strict as the subscriber
	// promises. Ordered runs the handlers of a partition one after the other,
	// OrderedByKey those of a key; messages without a key wait for none. One
	// that is stricter than the subscriber promises is errors.ErrUnsupported.
	// AtMostOnce on a queue keeps it among the handlers of one Consume: each
	// message is settled before its handler starts, so that another consumer
	// may get the next one of the key while the handler runs.
	Order Order

	// Semantics are AtLeastOnce by default. AtMostOnce takes neither
	// MaxAttempts nor DeadLetter, and on a stream only Ordered.
	Semantics Semantics

	// MaxAttempts is how often a message is handled before it goes to
	// DeadLetter, which it needs. 0 is without limit. Attempts are those that
	// the broker counts. Where it does not, they are counted in this call of
	// Consume, on a queue by the message's id: a restart or a move begins
	// again, and a queue's message without an id is tried for ever.
	MaxAttempts int

	// DeadLetter takes what failed MaxAttempts times and what was rejected.
	// The message is published there first, with its id, key, subject, body
	// and headers and with the headers messaging-reason (the error's text),
	// -attempts, -origin (the subscriber's String where it has one; partition
	// and offset) and -time (RFC 3339), and settled then. While it fails, that publish is
	// repeated, without limit, and the handler is not. Consume does not close
	// it.
	DeadLetter Publisher

	// Backoff is how long a message waits after its attempt-th failure. Nil
	// doubles from 100 ms to at most 1 minute, and takes off up to half at
	// random. On a queue the delay is rounded up, by at most an eighth, so
	// that several share one call of Nack. It must be safe for concurrent use,
	// and not panic.
	Backoff func(attempt int, err error) time.Duration

	// Grace is how long handlers may go on when ctx has ended. 0 means 30 s.
	Grace time.Duration

	// OnError hears what has no caller: handlers that failed, settles that
	// failed, started deliveries that were lost, dead letters that could not be
	// published. It is called from several goroutines at once, and a handler's
	// slot waits for it. It must not panic, nor end its goroutine. Nil hears
	// nothing.
	OnError func(d *Delivery, err error)
}

// ErrGrace is the cause that ends a handler's context when Consume was told to
// end and its Grace is over, and the root of Consume's error then. Close the
// subscriber: what was cut off comes again to the next.
var ErrGrace = errors.New("messaging: consume: grace ended")

// Consume receives from s and runs h for each delivery until ctx ends, then
// drains, and returns nil. It serves queues and streams, settles in batches,
// repeats what failed, and never closes s. At the end of a stream that was
// opened with end= it handles what it has in hand and returns nil. An error of
// Receive other than ctx's is final: it drains and returns that error. Options
// that do not fit together or to s are an error at once.
//
// # Demand
//
// From a queue it asks for a message for each free slot and as many ahead as
// Concurrency, within the subscriber's window; with AtMostOnce none ahead.
// From a stream it takes whatever the windows allow. A message that waits to
// be tried again holds no slot.
//
// # Settling
//
// On a queue what succeeded is acknowledged, one Ack under way at a time with
// all that became ready meanwhile; what failed is given back with Nack and a
// delay. On a stream what failed is tried again in place, and its partition
// (OrderedByKey: its key) waits; the commit follows the last of an unbroken
// row of handled messages, one a partition under way at a time. A settle that
// failed is repeated after a while, except when it says [ErrLost] or
// [ErrClosed].
//
// With AtMostOnce each message is settled on its own, in its slot, and only a
// settle that returned nil starts the handler. On a queue a message that is
// Redelivered is settled and not handled.
//
// # Partitions that move
//
// When a partition's lease is Ending, Consume starts nothing above the highest
// started message, lets finish what runs, runs what lies below, commits, and
// releases the rest. When it is Lost, handlers of it are cancelled, and what was not
// started is forgotten. A partition that comes back waits for the handlers of
// its former assignment.
//
// # The end
//
// When ctx ends nothing is received any more and each partition is treated as
// one that is Ending; a queue's messages that were not started are released. A
// handler that fails then is given back: a queue's with Nack, a stream's with
// Release. Handlers get Grace; then their contexts end, which does not count
// as a failed attempt: what they had is released. A second later a
// handler that still runs, and a settle without an answer, is abandoned: its
// delivery stays held until s is closed. When Grace cut off anything that was
// not settled, the error is [ErrGrace]: close s then. A stream's must not be
// consumed again, since its next commit would cover what was cut off.
// Otherwise it is nil: everything that had been started is settled or, where
// it failed, given back.
func Consume(ctx context.Context, s Subscriber, h Handler, o *ConsumeOptions) error {
	c, err := newConsumer(ctx, s, h, o)
	if err != nil {
		return fmt.Errorf("messaging: consume: %w", err)
	}
	return c.consume(ctx)
}

// settleGrace is how long settles may go on when Grace is over. They are told
// to end a little earlier, so that those that obey have ended by then.
const (
	settleGrace = time.Second
	settleEnds  = settleGrace * 9 / 10
)

// consume runs until everything is done, and waits for its goroutines, except
// for those that it abandons.
func (c *consumer) consume(ctx context.Context) error {
	defer c.tidy()
	c.begin(ctx)
	select {
	case <-ctx.Done():
		c.begin(ctx)
	case <-c.draining:
	}
	if !waitFor(c.gone, c.opts.Grace) {
		c.cut()
		if !waitFor(c.gone, settleEnds) {
			c.stopSettles()
			if !waitFor(c.gone, settleGrace-settleEnds) {
				c.abandon()
				return c.result()
			}
		}
	}
	c.workers.Wait()
	return c.result()
}

// begin starts consuming, or draining if ctx has ended.
func (c *consumer) begin(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		c.drain(nil)
	}
	c.wake()
}

// waitFor waits for ch to be closed, at most for d, and says whether it was.
func waitFor(ch <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		return false
	}
}

// newConsumer checks the options against each other and against s.
func newConsumer(ctx context.Context, s Subscriber, h Handler, o *ConsumeOptions) (*consumer, error) {
	if s == nil {
		return nil, errors.New("the subscriber is nil")
	}
	if h == nil {
		return nil, errors.New("the handler is nil")
	}
	c := &consumer{sub: s, handler: h, caps: s.Capabilities()}
	if o != nil {
		c.opts = *o
	}
	c.queue, _ = s.(QueueSubscriber)
	c.stream, _ = s.(StreamSubscriber)
	if (c.queue == nil) == (c.stream == nil) {
		return nil, fmt.Errorf("a %T is neither a QueueSubscriber nor a StreamSubscriber, or both", s)
	}
	if err := c.checkOptions(); err != nil {
		return nil, err
	}
	c.setup(ctx)
	return c, nil
}

// mostConcurrency is more than any machine runs, and twice it is a number.
const mostConcurrency = 1 << 30

func (c *consumer) checkOptions() error {
	o := &c.opts
	switch {
	case o.Concurrency < 0:
		return fmt.Errorf("option Concurrency is %d: want 0 for 1, or more", o.Concurrency)
	case o.MaxAttempts < 0:
		return fmt.Errorf("option MaxAttempts is %d: want 0 for no limit, or more", o.MaxAttempts)
	case o.MaxAttempts > 0 && o.DeadLetter == nil && o.Semantics == AtLeastOnce:
		return errors.New("option MaxAttempts needs a DeadLetter to publish to")
	case o.Grace < 0:
		return fmt.Errorf("option Grace is %v: want 0 for 30s, or more", o.Grace)
	case o.Order < 0 || o.Order > Ordered:
		return fmt.Errorf("option Order is %d: want Unordered, OrderedByKey, Ordered or 0", o.Order)
	case o.Order > c.caps.Order:
		return fmt.Errorf("the subscriber promises %v, not %v: %w", c.caps.Order, o.Order, errors.ErrUnsupported)
	}
	o.Order = cmp.Or(o.Order, c.caps.Order, Unordered)
	o.Concurrency = min(cmp.Or(o.Concurrency, 1), mostConcurrency)
	o.Grace = cmp.Or(o.Grace, 30*time.Second)
	if o.Backoff == nil {
		o.Backoff = defaultBackoff
	}
	return c.checkSemantics()
}

func (c *consumer) checkSemantics() error {
	o := &c.opts
	switch {
	case o.Semantics == AtLeastOnce:
		return nil
	case o.Semantics != AtMostOnce:
		return fmt.Errorf("option Semantics is %d: want AtLeastOnce or AtMostOnce", o.Semantics)
	case o.MaxAttempts > 0 || o.DeadLetter != nil:
		return errors.New("AtMostOnce settles before the handler runs: it takes neither MaxAttempts nor DeadLetter")
	case c.stream != nil && o.Order != Ordered:
		return fmt.Errorf("AtMostOnce on a stream commits before each start: it takes only Ordered, not %v", o.Order)
	}
	return nil
}

// defaultBackoff doubles from 100 ms to 1 minute and takes off up to half.
func defaultBackoff(attempt int, _ error) time.Duration {
	const first, most = 100 * time.Millisecond, time.Minute
	d := most
	if shift := attempt - 1; shift < 10 {
		d = min(most, first<<max(0, shift))
	}
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}
