package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

const (
	// closeBound is how long Close of a publisher waits for calls under way.
	closeBound = 5 * time.Second

	// retryPause is how long a publisher waits before it tries again.
	retryPause = 10 * time.Millisecond
)

var (
	errReplyLost = errors.New("chaos: the reply was lost")
	errGaveUp    = errors.New("the publisher was closed before the answer came")
)

// publisher publishes to a channel.
type publisher struct {
	c          *channel
	maxMessage int
	retry      bool
	timeout    time.Duration
	presses    sync.Pool

	calls   atomic.Int64  // under way; closing is added when Close was called
	drained chan struct{} // holds one: closing, and no call is under way
	abort   chan struct{} // closed when Close does not wait any longer
	closed  chan struct{} // closed when the first Close has done its work
}

// closing is above any number of calls.
const closing = 1 << 62

// newPublisher opens a publisher.
func newPublisher(c *channel, o *options) messaging.Publisher {
	return &publisher{
		c: c, maxMessage: o.maxMessage, retry: o.retry, timeout: o.timeout,
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
	if err := p.pass(ctx); err != nil {
		return p.failed(len(msgs), err)
	}
	ps, ok := p.presses.Get().(*press)
	if !ok {
		ps = new(press)
	}
	errs := p.press(ps, msgs)
	stored := len(ps.recs)
	last, err := p.c.publish(ps.recs)
	ps.clear()
	p.presses.Put(ps)
	// As late as possible: the receiver can only run when this goroutine waits,
	// or somewhere else.
	last.wake()
	if err == nil && stored > 0 {
		err = p.answer(ctx)
	}
	if err != nil {
		errs = fill(errs, len(msgs), err)
	}
	return p.wrap(errs)
}

// pass waits while the broker is paused, for as long as a Publish may take.
func (p *publisher) pass(ctx context.Context) error {
	if p.c.b.gate.isShut() {
		bounded, cancel := p.bounded(ctx)
		defer cancel()
		return p.c.b.gate.waitOr(bounded, p.abort)
	}
	return ctx.Err() // a Pause that begins now finds this call under way
}

func (p *publisher) leave() {
	if p.calls.Add(-1) == closing {
		select {
		case p.drained <- struct{}{}:
		default:
		}
	}
}

// press makes records of msgs. What is refused has an error in its place.
func (p *publisher) press(ps *press, msgs []messaging.Message) (errs []error) {
	for i := range msgs {
		if size := messageSize(&msgs[i]); size > p.maxMessage {
			if errs == nil {
				errs = make([]error, len(msgs))
			}
			errs[i] = fmt.Errorf("message of %d bytes, at most %d are allowed: %w", size, p.maxMessage, messaging.ErrTooLarge)
			continue
		}
		ps.add(&msgs[i])
	}
	return errs
}

// answer waits for the broker's answer, which chaos may lose.
func (p *publisher) answer(ctx context.Context) error {
	chaos := p.c.chaos
	if !chaos.roll(chaos.now().LostReply) {
		return nil
	}
	if !p.retry {
		return fmt.Errorf("%w: %w", messaging.ErrUncertain, errReplyLost)
	}
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	for {
		// The broker knows by its id what it stored, and only answers again.
		if err := p.again(ctx); err != nil {
			return fmt.Errorf("%w: %w", messaging.ErrUncertain, err)
		}
		if !chaos.roll(chaos.now().LostReply) {
			return nil
		}
	}
}

// again returns when a call may be repeated, or why it may not.
func (p *publisher) again(ctx context.Context) error {
	pause := time.NewTimer(retryPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.abort:
		return errGaveUp
	}
	err := p.c.b.gate.waitOr(ctx, p.abort)
	if err == messaging.ErrClosed {
		return errGaveUp
	}
	return err
}

// bounded gives a context without a deadline that of timeout=.
func (p *publisher) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, p.timeout)
}

// failed is the error of n messages that failed for one reason.
func (p *publisher) failed(n int, err error) error {
	if n == 0 {
		if err == messaging.ErrClosed {
			return fmt.Errorf("memory: publish to %s: %w", p.c.name, err)
		}
		return nil
	}
	return p.wrap(fill(nil, n, err))
}

// wrap is the error of a call with the errors of its arguments, if any.
func (p *publisher) wrap(errs []error) error {
	if errs == nil {
		return nil
	}
	return fmt.Errorf("memory: publish to %s: %w", p.c.name, &messaging.BatchError{Errs: errs})
}

// fill puts err in every place of n that has no error.
func fill(errs []error, n int, err error) []error {
	if errs == nil {
		errs = make([]error, n)
	}
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// Close implements messaging.Publisher.
func (p *publisher) Close() error {
	calls := p.calls.Or(closing)
	if calls >= closing {
		<-p.closed
		return nil
	}
	defer close(p.closed)
	if calls == 0 {
		return nil
	}
	bound := time.NewTimer(closeBound)
	defer bound.Stop()
	select {
	case <-p.drained:
		return nil
	case <-bound.C:
		close(p.abort)
		<-p.drained
		return fmt.Errorf("memory: close publisher of %s: gave up after %v on calls that the broker had not answered", p.c.name, closeBound)
	}
}
