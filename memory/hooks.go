package memory

import (
	"errors"
	"fmt"
	"time"

	"github.com/fa5182d2/messaging"
)

// fragile is a subscriber that can fail in ways that Close is not.
type fragile interface {
	crash()
	freeze() (thaw func())
}

// errNotOurs is for hooks that were given something else.
var errNotOurs = errors.New("not a subscriber of package memory")

// Delete removes a channel with all that is in it: publishing to it,
// receiving from it and settling are errors from now on (ErrNotFound,
// ErrNotFound, ErrLost). Opening its name with create=true makes a new one.
// ErrNotFound when there is none.
func (b *Backend) Delete(name string) error {
	b.mu.Lock()
	c := b.channels[name]
	delete(b.channels, name)
	b.mu.Unlock()
	if c == nil {
		return fmt.Errorf("memory: delete %s: %w", name, messaging.ErrNotFound)
	}
	c.remove()
	return nil
}

// Pause stops the broker: every call waits, until the returned function is
// called or the call's context ends. Time goes on, so leases may end. Pauses
// may overlap; resume is idempotent.
func (b *Backend) Pause() (resume func()) { return b.gate.shut() }

// Crash makes a subscriber die: nothing is closed or given back. Its calls
// are ErrClosed and its leases Lost at once, but the broker notices only when
// the lease is over, and others get what it held.
func (b *Backend) Crash(s messaging.Subscriber) error {
	f, ok := s.(fragile)
	if !ok {
		return fmt.Errorf("memory: crash %T: %w", s, errNotOurs)
	}
	f.crash()
	return nil
}

// Freeze makes a subscriber a zombie until thaw is called, which is
// idempotent: its calls wait until then, or until their context ends, and it
// does not keep its leases. When they end, others get what it held, and it
// finds that out when it thaws. Close ends a frozen subscriber, too.
func (b *Backend) Freeze(s messaging.Subscriber) (thaw func(), err error) {
	f, ok := s.(fragile)
	if !ok {
		return nil, fmt.Errorf("memory: freeze %T: %w", s, errNotOurs)
	}
	return f.freeze(), nil
}

// StepClock moves the broker's wall clock, by which messages are Published,
// forward or, where d is negative, back. Leases and delays do not notice.
func (b *Backend) StepClock(d time.Duration) { b.skew.Add(int64(d)) }
