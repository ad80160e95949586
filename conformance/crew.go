package conformance

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// crew are goroutines that somebody waits for. The zero value is ready. What
// fails or panics in one does not end the process: it is told to failed.
type crew struct {
	failed context.CancelCauseFunc

	mu    sync.Mutex
	n     int
	empty chan struct{} // closed when n falls to 0; nil: nobody waits
}

// Go calls f in a goroutine.
func (c *crew) Go(f func()) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	go func() {
		defer c.leave()
		if err := caught(f); err != nil && c.failed != nil {
			c.failed(err)
		}
	}()
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// idle returns a channel that is closed when none of the goroutines is left.
func (c *crew) idle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.empty == nil {
		empty := make(chan struct{})
		if c.n == 0 {
			close(empty)
			return empty
		}
		c.empty = empty
	}
	return c.empty
}

// Wait waits until none is left.
func (c *crew) Wait() { <-c.idle() }

// caught calls f and returns the failure that it panicked with. Any other
// panic is one of the suite: what a target's calls panic with is caught where
// they are made.
func caught(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.err
		default:
			err = fmt.Errorf("the scenario panicked: %v\n%s", p, clip(string(debug.Stack()), 2000))
		}
	}()
	f()
	return nil
}
