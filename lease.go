package messaging

import (
	"sync"
	"sync/atomic"
)

// Lease is a hold on deliveries, which the broker can take back. It is shared
// by all that it covers: the deliveries of one partition assignment, of one
// connection, or a single one. The zero value is held. It is safe for
// concurrent use, and must not be copied.
//
// Backends embed it in their own types: channels are made on first use, so a
// Lease that nobody watches costs no allocation of its own.
type Lease struct {
	// Epoch is the owner's fencing token where there is one, such as a
	// generation or a lease counter: what a checkpoint stores, so that an
	// older owner can be told from a newer one. Backends set it before the
	// first delivery and never again.
	Epoch string

	state atomic.Uint32 // a leaseState; written with mu held

	mu       sync.Mutex
	ending   chan struct{}
	lost     chan struct{}
	watchers *leaseWatch
}

type leaseState = uint32

const (
	leaseHeld leaseState = iota
	leaseEnding
	leaseLost
)

// Ending returns a channel that is closed when the hold is about to be lost
// in order: start nothing above the highest started delivery of its
// partition, finish what lies below it, Release the rest, and settle. Lost
// follows. On a nil Lease the channel is nil.
func (l *Lease) Ending() <-chan struct{} {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return openOrClosed(&l.ending, l.state.Load() >= leaseEnding)
}

// Lost returns a channel that is closed when the deliveries are no longer
// ours: settling them is [ErrLost]. It need not be closed after a settle. On
// a nil Lease the channel is nil.
func (l *Lease) Lost() <-chan struct{} {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return openOrClosed(&l.lost, l.state.Load() >= leaseLost)
}

// End closes Ending. It is for backends, and idempotent. On a nil Lease it
// does nothing.
func (l *Lease) End() { l.advance(leaseEnding) }

// Lose closes Ending and then Lost. It is for backends, and idempotent. On a
// nil Lease it does nothing.
func (l *Lease) Lose() { l.advance(leaseLost) }

func (l *Lease) advance(to leaseState) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.state.Load()
	if to <= from {
		return
	}
	l.state.Store(to)
	if from < leaseEnding && l.ending != nil {
		close(l.ending)
	}
	if to == leaseLost && l.lost != nil {
		close(l.lost)
	}
	for w := l.watchers; w != nil; w = w.next {
		w.changed(to)
	}
}

// openOrClosed returns the channel at ch, making it on first use, closed if
// the event that it stands for has already happened.
func openOrClosed(ch *chan struct{}, happened bool) <-chan struct{} {
	if *ch == nil {
		*ch = make(chan struct{})
		if happened {
			close(*ch)
		}
	}
	return *ch
}

// leaseWatch calls changed when the lease that it watches is Ending or Lost.
// It is what Consume uses instead of the channels: a watch that is part of
// something longer-lived costs no allocation and no goroutine.
//
// changed runs with the lease's mutex held, and often with a lock of the
// backend: it takes no lock that is held while a subscriber or a lease is
// called, and calls no code of users.
type leaseWatch struct {
	changed    func(leaseState)
	begun      bool
	prev, next *leaseWatch
}

// watch begins w, unless l is already lost, and returns l's state. A watch
// that was begun sees every later state until unwatch.
func (l *Lease) watch(w *leaseWatch) leaseState {
	if l == nil {
		return leaseHeld
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	state := l.state.Load()
	if state == leaseLost {
		return state
	}
	w.begun, w.prev, w.next = true, nil, l.watchers
	if w.next != nil {
		w.next.prev = w
	}
	l.watchers = w
	return state
}

// unwatch ends w, if it was begun, and returns l's state. When it returns,
// changed is not running and will not run again.
func (l *Lease) unwatch(w *leaseWatch) leaseState {
	if l == nil {
		return leaseHeld
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.begun {
		return l.state.Load()
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.watchers = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.begun, w.prev, w.next = false, nil, nil
	return l.state.Load()
}

// now returns l's state.
func (l *Lease) now() leaseState {
	if l == nil {
		return leaseHeld
	}
	return l.state.Load()
}
