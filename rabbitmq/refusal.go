package rabbitmq

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// refusal is an error that repeating does not heal: somebody has to change
// something.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func isRefusal(err error) bool {
	_, ok := errors.AsType[*refusal](err)
	return ok
}

// judged says of an error of amqp091 whether it is a refusal, and what is
// likely to help.
func judged(err error) error {
	if err == nil || isRefusal(err) {
		return err
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &refusal{fmt.Errorf("%w: trust its authority with cacertfile=, or correct the host name", err)}
	}
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || !e.Server {
		return err
	}
	switch e.Code {
	case amqp.NotFound:
		// A classic queue whose node is down, or that is about to start, is
		// there all the same.
		if strings.Contains(e.Reason, "down or inaccessible") || strings.Contains(e.Reason, "process is stopped") {
			return err
		}
		return &refusal{fmt.Errorf("%w: %w: create it, or open with create=true", messaging.ErrNotFound, err)}
	case amqp.AccessRefused:
		return &refusal{fmt.Errorf("%w: check the user's password and permissions", err)}
	case amqp.NotAllowed:
		if strings.Contains(e.Reason, "is down") {
			return err
		}
		return &refusal{fmt.Errorf("%w: check the vhost, the user's permissions on it, and its limits", err)}
	case amqp.PreconditionFailed:
		return &refusal{preconditionErr(e)}
	case amqp.ResourceLocked, amqp.NotImplemented, amqp.InvalidPath:
		return &refusal{err}
	}
	return err
}

// preconditionErr explains 406, which mostly is a declaration that differs from
// what exists.
func preconditionErr(e *amqp.Error) error {
	switch {
	case strings.Contains(e.Reason, "x-delivery-limit"):
		return fmt.Errorf("%w: the queue was declared with another delivery limit, and what reaches one is dropped: move it to a queue that create=true declares, or open without create=true", e)
	case strings.Contains(e.Reason, "inequivalent arg"):
		return fmt.Errorf("%w: it exists already, declared otherwise: open without create=true, say type=classic or type=quorum as it is, or delete it", e)
	}
	return e
}

var tooLarge = regexp.MustCompile(`message size \d+ is larger than (?:configured )?max size (\d+)`)

// largestIn reads the broker's limit out of its refusal of a message that is
// above it, which closes the channel.
func largestIn(cause error) (int, bool) {
	e, ok := errors.AsType[*amqp.Error](cause)
	if !ok || e.Code != amqp.PreconditionFailed {
		return 0, false
	}
	m := tooLarge.FindStringSubmatch(e.Reason)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	return n, err == nil
}
