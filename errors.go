package messaging

import (
	"errors"
	"fmt"
)

// The errors that a program may want to tell apart, with errors.Is. What a
// backend cannot do at all is [errors.ErrUnsupported].
var (
	// ErrClosed says that the publisher or subscriber was closed.
	ErrClosed = errors.New("messaging: closed")

	// ErrNotFound says that the destination, queue, stream or subscription
	// does not exist. Create it, or open with create=true.
	ErrNotFound = errors.New("messaging: not found")

	// ErrTooLarge says that a message is above the broker's limit, see
	// [Capabilities].MaxMessage. It was not sent.
	ErrTooLarge = errors.New("messaging: message too large")

	// ErrLost says that a delivery is no longer ours: its lease ended, its
	// partition moved, its connection broke, or it has been settled. Stop
	// working on it; the message may already be with someone else.
	ErrLost = errors.New("messaging: delivery lost")

	// ErrUncertain says that the outcome is unknown: the request may or may
	// not have been applied. It wraps the cause. A settle may be repeated; a
	// publish that is repeated may store the message twice, with one id.
	ErrUncertain = errors.New("messaging: outcome uncertain")

	// ErrTrimmed says that retention removed messages that the cursor had not
	// reached. Open with trimmed=skip to go on with the first that is left.
	ErrTrimmed = errors.New("messaging: messages trimmed by retention")
)

// BatchError is the error of a call with several arguments of which some
// failed. A call returns it as *BatchError, possibly wrapped; [ErrorAt] reads it.
type BatchError struct {
	// Errs has one place for each argument of the call: its error, or nil.
	Errs []error
}

// Error says how many failed, and why the first did.
func (e *BatchError) Error() string {
	failed := e.Unwrap()
	switch {
	case len(failed) == 0:
		return "messaging: none failed"
	case len(e.Errs) == 1:
		return failed[0].Error()
	}
	return fmt.Sprintf("messaging: %d of %d failed, the first with: %v", len(failed), len(e.Errs), failed[0])
}

// Unwrap returns the errors that are not nil.
func (e *BatchError) Unwrap() []error {
	var failed []error
	for _, err := range e.Errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// ErrorAt returns the outcome of argument i of a call that returned err: its
// place in the [BatchError] that errors.As finds in err. Without one, and for
// a place that it does not have, it is err itself.
func ErrorAt(err error, i int) error {
	if batch, ok := errors.AsType[*BatchError](err); ok && i >= 0 && i < len(batch.Errs) {
		return batch.Errs[i]
	}
	return err
}
