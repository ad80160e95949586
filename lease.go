package messaging

import "sync"

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

	mu     sync.Mutex
	state  leaseState
	ending chan struct{}
	lost   chan struct{}
}

type leaseState uint8

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
	return watch(&l.ending, l.state >= leaseEnding)
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
	return watch(&l.lost, l.state >= leaseLost)
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
	from := l.state
	l.state = max(from, to)
	if from < leaseEnding && to >= leaseEnding && l.ending != nil {
		close(l.ending)
	}
	if from < leaseLost && to >= leaseLost && l.lost != nil {
		close(l.lost)
	}
}

// watch returns the channel at ch, making it on first use, closed if the
// event that it stands for has already happened.
func watch(ch *chan struct{}, happened bool) <-chan struct{} {
	if *ch == nil {
		*ch = make(chan struct{})
		if happened {
			close(*ch)
		}
	}
	return *ch
}
