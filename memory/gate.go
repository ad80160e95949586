package memory

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/fa5182d2/messaging"
)

// gate holds calls while it is shut: those of everybody while the broker is
// paused, those of one subscriber while it is frozen. The zero value is open.
type gate struct {
	mu     sync.Mutex
	shuts  int
	closed atomic.Pointer[chan struct{}] // closed when the gate opens; nil: open
}

// shut shuts the gate until the function that it returns is called, which is
// idempotent. It stays shut until all who shut it have opened it.
func (g *gate) shut() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuts++; g.shuts == 1 {
		opened := make(chan struct{})
		g.closed.Store(&opened)
	}
	return sync.OnceFunc(g.open)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuts--; g.shuts == 0 {
		close(*g.closed.Swap(nil))
	}
}

// isShut reports whether calls have to wait now.
func (g *gate) isShut() bool { return g.closed.Load() != nil }

// wait returns when the gate is open, or with ctx's error.
func (g *gate) wait(ctx context.Context) error { return g.waitOr(ctx, nil) }

// waitOr returns when the gate is open, with ctx's error, or with ErrClosed
// when done is closed.
func (g *gate) waitOr(ctx context.Context, done <-chan struct{}) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		opened := g.closed.Load()
		if opened == nil {
			return nil
		}
		select {
		case <-*opened:
		case <-ctx.Done():
		case <-done:
			return messaging.ErrClosed
		}
	}
}
