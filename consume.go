package messaging

import (
	"context"
	"errors"
	"time"
)

// Handler does the work for one delivery. It returns nil when the work is
// done, an error when it is to be tried again, and an error wrapped by
// [Reject] when trying again is of no use. A panic, and runtime.Goexit, count
// as an error that holds the stack. It must not settle the delivery.
//
// ctx ends with cause [ErrLost] when the delivery's lease is lost, and with
// the cause of a shutdown when Grace is over. It may be shared with other
// deliveries and does not end when the handler returns.
type Handler func(ctx context.Context, d *Delivery) error

// Semantics are the delivery semantics of [Consume].
type Semantics int

const (
	// AtLeastOnce settles after the handler returned nil: after a crash it
	// may run again.
	AtLeastOnce Semantics = iota
	// AtMostOnce settles before the handler starts: after a crash it may not
	// have run.
	AtMostOnce
)

// ConsumeOptions are the options of [Consume]. The zero value works.
type ConsumeOptions struct {
	// Concurrency is the most handlers that run at once. 0 means 1.
	Concurrency int

	// Order is the order of handling. 0 means as strict as the subscriber
	// promises.
	Order Order

	// Semantics are at least once by default.
	Semantics Semantics

	// MaxAttempts is how often a message is handled before it goes to
	// DeadLetter. 0 means without limit. It needs a DeadLetter.
	MaxAttempts int

	// DeadLetter takes what failed MaxAttempts times and what was rejected.
	DeadLetter Publisher

	// Backoff is how long a message waits after its attempt-th failure.
	Backoff func(attempt int, err error) time.Duration

	// Grace is how long handlers may go on when ctx has ended. 0 means 30 s.
	Grace time.Duration

	// OnError hears what has no caller.
	OnError func(*Delivery, error)
}

// Reject wraps a handler's error.
func Reject(err error) error { return errors.Join(err) }

// Consume is being written.
func Consume(ctx context.Context, s Subscriber, h Handler, o *ConsumeOptions) error { return nil }
