package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// bound is for how long a call may wait: until its context ends or, where that
// has no deadline, its timeout has passed, or until it is aborted. Not safe for
// concurrent use.
type bound struct {
	ctx     context.Context
	timeout time.Duration // 0 is none
	abort   <-chan struct{}
	aborted error // what wait returns then
	timers  *sync.Pool

	begun, passed bool
	timer         *time.Timer // nil until something waits, and where ctx has a deadline
}

// begin makes the timeout count from now on.
func (b *bound) begin() {
	b.begun = true
	if _, ok := b.ctx.Deadline(); ok || b.timeout <= 0 {
		return
	}
	if b.timers != nil {
		if t, ok := b.timers.Get().(*time.Timer); ok {
			t.Reset(b.timeout)
			b.timer = t
			return
		}
	}
	b.timer = time.NewTimer(b.timeout)
}

// end gives back what begin took.
func (b *bound) end() {
	if b.timer == nil {
		return
	}
	b.timer.Stop()
	if b.timers != nil {
		b.timers.Put(b.timer)
	}
	b.timer = nil
}

func (b *bound) timeoutErr() error {
	return fmt.Errorf("the %v of timeout= have passed: %w", b.timeout, context.DeadlineExceeded)
}

// wait returns nil when one of the channels is closed or has something, or why
// it cannot wait any longer. A nil channel never is.
func (b *bound) wait(one, other <-chan struct{}) error {
	if b.passed {
		return b.timeoutErr()
	}
	if !b.begun {
		b.begin()
	}
	var passed <-chan time.Time
	if b.timer != nil {
		passed = b.timer.C
	}
	select {
	case <-one:
		return nil
	case <-other:
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-b.abort:
		return b.aborted
	case <-passed:
		b.passed = true
		return b.timeoutErr()
	}
}

// sleep waits for d, or returns why it cannot wait that long.
func (b *bound) sleep(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return b.wait(ctx.Done(), nil)
}
