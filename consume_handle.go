package messaging

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// worker is a goroutine of the pool. When it runs a handler it is one of the
// slots that Concurrency counts. It keeps its handlers' context until that
// ends.
type worker struct {
	c      *consumer
	woken  chan struct{}
	watch  leaseWatch
	ctx    context.Context
	cancel context.CancelCauseFunc
	exited bool // a handler called runtime.Goexit: the goroutine ends, with mu held
}

// leaseChanged is called by the lease of the delivery that is being handled.
func (w *worker) leaseChanged(s leaseState) {
	if s == leaseLost {
		w.cancel(ErrLost)
	}
}

// enter returns a context that ends when l is lost, until leave.
func (w *worker) enter(l *Lease) context.Context {
	if w.ctx == nil {
		w.ctx, w.cancel = context.WithCancelCause(w.c.handleCtx)
	}
	if l.watch(&w.watch) == leaseLost {
		w.cancel(ErrLost)
	}
	return w.ctx
}

func (w *worker) leave(l *Lease) {
	l.unwatch(&w.watch)
	if w.ctx.Err() != nil {
		w.ctx, w.cancel = nil, nil
	}
}

// handle runs the handler for e, in a slot. It is called, and returns, with mu
// held.
func (w *worker) handle(e *entry) {
	c := w.c
	if c.queue == nil {
		e.attempts++
	}
	if c.opts.MaxAttempts > 0 && c.caps.Attempts && e.d.Attempt > c.opts.MaxAttempts {
		c.running--
		e.attempts = e.d.Attempt - 1
		c.toBury(e, fmt.Errorf("attempt %d of at most %d: the earlier ones ended without a result", e.d.Attempt, c.opts.MaxAttempts))
		return
	}
	c.wake()
	c.mu.Unlock()
	if c.opts.Semantics == AtMostOnce {
		w.handleOnce(e)
		return
	}
	c.keep(e)
	w.handled(e, w.call(e, e.d.Lease))
}

// call calls the handler, with a context that ends when lease is lost. Where it calls runtime.Goexit, call does what is
// left to do for e and leaves mu locked, as the goroutine ends.
func (w *worker) call(e *entry, lease *Lease) (err error) {
	ctx := w.enter(lease)
	returned := false
	defer func() {
		w.leave(lease)
		if returned {
			return
		}
		if p := recover(); p != nil {
			err = panicError(p)
			return
		}
		w.exited = true
		w.handled(e, fmt.Errorf("messaging: the handler called runtime.Goexit\n\n%s", debug.Stack()))
	}()
	err = w.c.handler(ctx, e.d)
	returned = true
	return err
}

// panicError is the error of a handler that panicked with p.
func panicError(p any) error {
	if err, ok := p.(error); ok {
		return fmt.Errorf("messaging: the handler panicked: %w\n\n%s", err, debug.Stack())
	}
	return fmt.Errorf("messaging: the handler panicked: %v\n\n%s", p, debug.Stack())
}

// handled takes the outcome of e's handler. It locks mu.
func (w *worker) handled(e *entry, err error) {
	c := w.c
	if err != nil {
		c.failed(e, err)
		return
	}
	c.mu.Lock()
	c.running--
	if !c.ended {
		c.failures.forget(e)
		c.finish(e)
	}
}

// failed does what the error of e's handler asks for. It locks mu.
func (c *consumer) failed(e *entry, err error) {
	rejected, once := isRejected(err), c.opts.Semantics == AtMostOnce
	c.mu.Lock()
	lost, cut, ended := c.isLost(e) && !once, c.isCut, c.ended
	e.attempts = c.attempt(e)
	c.mu.Unlock()
	if ended { // nobody listens any more
		c.mu.Lock()
		return
	}
	if lost {
		err = fmt.Errorf("%w while it was handled; the handler returned: %w", ErrLost, err)
	}
	var delay time.Duration
	if !lost && !cut {
		delay = max(0, c.opts.Backoff(e.attempts, err))
	}
	if c.opts.OnError != nil {
		c.opts.OnError(e.d, err)
	}
	c.mu.Lock()
	c.running--
	switch {
	case c.ended:
	case c.isLost(e):
		c.forget(e, nil)
	case once:
		c.finish(e)
	case c.isCut:
		c.cutShort(e)
	case c.opts.DeadLetter != nil && (rejected || c.opts.MaxAttempts > 0 && e.attempts >= c.opts.MaxAttempts):
		c.toBury(e, err)
	case c.queue != nil:
		c.setState(e, dropped)
		c.nack(e.d, delay)
		c.recycle(e)
	case e.lane.closing:
		c.fail(e)
	default:
		c.later(e, backingOff, delay, c.tryAgain)
	}
}

// tryAgain lets e start once more.
func (c *consumer) tryAgain(e *entry) {
	c.setState(e, waiting)
	e.lane.runnable.push(e)
	c.enqueue(e.lane)
}

// attempt returns which attempt at e has just failed. It counts it where the
// broker does not.
func (c *consumer) attempt(e *entry) int {
	switch {
	case c.queue == nil:
		return e.attempts
	case c.caps.Attempts && e.d.Attempt > 0:
		return e.d.Attempt
	}
	return c.failures.count(e)
}

// handleOnce settles e and then runs its handler. It is called without mu and
// returns with it.
func (w *worker) handleOnce(e *entry) {
	c := w.c
	call := c.settleOne()
	switch err := w.settleFirst(e, call); {
	case err != nil:
		c.mu.Lock()
		c.running--
		switch {
		case c.ended:
		case final(err):
			c.forget(e, err)
		default:
			c.cutShort(e)
		}
		return
	case c.queue != nil && e.d.Redelivered:
		w.handled(e, nil)
		return
	}
	// It is settled: there is nothing left to lose. A partition moves at once
	// then, which is no reason to stop.
	w.handled(e, w.call(e, nil))
}

func (c *consumer) settleOne() func(context.Context, ...*Delivery) error {
	if c.queue != nil {
		return c.queue.Ack
	}
	return c.stream.Commit
}

// settleFirst settles e and repeats that until it is certain. It returns nil,
// a final error, or another when Grace ended first.
func (w *worker) settleFirst(e *entry, call func(context.Context, ...*Delivery) error) error {
	c := w.c
	ctx := w.enter(e.d.Lease)
	defer w.leave(e.d.Lease)
	for try := 1; ; try++ {
		err := ErrorAt(call(ctx, e.d), 0)
		if err == nil || final(err) {
			return err
		}
		if c.opts.OnError != nil {
			c.opts.OnError(e.d, err)
		}
		pause := time.NewTimer(settleBackoff(try))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// rejection is what Reject returns.
type rejection struct{ err error }

func (r *rejection) Error() string { return r.err.Error() }
func (r *rejection) Unwrap() error { return r.err }

// Reject wraps a handler's error to say that trying again is of no use: the
// message goes to [ConsumeOptions].DeadLetter at once. Where there is none, it
// is a failure like any other. Reject(nil) is nil.
func Reject(err error) error {
	if err == nil {
		return nil
	}
	return &rejection{err}
}

func isRejected(err error) bool {
	_, ok := errors.AsType[*rejection](err)
	return ok
}
