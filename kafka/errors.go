package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging"
)

var (
	errNil     = errors.New("the delivery is nil")
	errForeign = errors.New("the delivery is not of this subscriber")
	errMoved   = fmt.Errorf("the partition has moved: %w", messaging.ErrLost)
	errSetBack = fmt.Errorf("the partition was set back before it: %w", messaging.ErrLost)
	errGaveUp  = errors.New("closed before the broker answered")
	errOnce    = errors.New("retry=none: it is not tried again")
)

// codeError is the broker's error, which says its number and text, or nil.
func codeError(code int16) error {
	if code == 0 {
		return nil
	}
	return explained(kafkago.Error(code))
}

// explained adds to an error of the broker what to do about it, and the root
// error that it stands for.
func explained(err kafkago.Error) error {
	switch err {
	case kafkago.UnknownTopicOrPartition:
		return fmt.Errorf("%w: %w", messaging.ErrNotFound, err)
	case kafkago.MessageSizeTooLarge:
		return fmt.Errorf("%w: %w", messaging.ErrTooLarge, err)
	case kafkago.SASLAuthenticationFailed:
		return fmt.Errorf("%w: check the user and the password, and sasl=", err)
	case kafkago.UnsupportedSASLMechanism:
		return fmt.Errorf("%w: sasl= names one that the broker does not have", err)
	case kafkago.TopicAuthorizationFailed:
		return fmt.Errorf("%w: the user needs READ on the topic to subscribe, WRITE to publish", err)
	case kafkago.GroupAuthorizationFailed:
		return fmt.Errorf("%w: the user needs READ on the consumer group", err)
	case kafkago.ClusterAuthorizationFailed:
		return fmt.Errorf("%w: before Kafka 2.8 an idempotent producer needs IDEMPOTENT_WRITE on the cluster", err)
	case kafkago.NotEnoughReplicas, kafkago.NotEnoughReplicasAfterAppend:
		return fmt.Errorf("%w: fewer are in sync than min.insync.replicas asks for", err)
	case kafkago.UnsupportedForMessageFormat, kafkago.UnsupportedCompressionType:
		return fmt.Errorf("%w: the broker is older than what compression= asks for", err)
	}
	return err
}

// passing says whether an error of the broker goes away by waiting, or by
// asking the right broker.
func passing(code int16) bool {
	switch kafkago.Error(code) {
	case kafkago.LeaderNotAvailable, kafkago.NotLeaderForPartition, kafkago.RequestTimedOut, kafkago.BrokerNotAvailable,
		kafkago.ReplicaNotAvailable, kafkago.NetworkException, kafkago.GroupLoadInProgress, kafkago.GroupCoordinatorNotAvailable,
		kafkago.NotCoordinatorForGroup, kafkago.NotEnoughReplicas, kafkago.NotEnoughReplicasAfterAppend,
		kafkago.NotController, kafkago.KafkaStorageError, kafkago.FencedLeaderEpoch, kafkago.UnknownLeaderEpoch,
		kafkago.OffsetNotAvailable, kafkago.PreferredLeaderNotAvailable, kafkago.ConcurrentTransactions,
		throttlingQuotaExceeded, -1:
		return true
	}
	return false
}

// throttlingQuotaExceeded is one that kafka-go has no name for.
const throttlingQuotaExceeded = kafkago.Error(89)

// permanent says whether an error of a connection stays whatever is tried.
func permanent(err error) bool {
	return errors.Is(err, kafkago.SASLAuthenticationFailed) || errors.Is(err, kafkago.UnsupportedSASLMechanism) ||
		errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.GroupAuthorizationFailed) ||
		errors.Is(err, kafkago.ClusterAuthorizationFailed)
}

// notKafka explains an answer to the first request that is none of a Kafka
// broker; head is its first four bytes.
func notKafka(head []byte) error {
	switch {
	case head[0] == 0x15 && head[1] == 3: // a TLS alert
		return errors.New("a TLS alert is what answers: the listener wants TLS, say tls=true")
	case string(head) == "HTTP":
		return errors.New("an HTTP server answers there: this is not a port of a Kafka broker")
	}
	return errors.New("what answers there is not a Kafka broker: is it the right port?")
}

// hung explains why a connection ended before the broker had answered.
func hung(err error, what string) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the broker closed the connection during %s: %w", what, io.ErrUnexpectedEOF)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time during %s: %w", what, err)
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("closed during %s: %w", what, err)
	}
	return fmt.Errorf("during %s: %w", what, err)
}

// uncertain wraps the cause of an outcome that nobody knows.
func uncertain(cause error) error {
	if errors.Is(cause, messaging.ErrUncertain) {
		return cause
	}
	return fmt.Errorf("%w: %w", messaging.ErrUncertain, cause)
}

// cause is why ctx ended, as callers compare it.
func cause(ctx context.Context) error { return ctx.Err() }

// fill puts err in every place of n that has no error.
func fill(errs []error, n int, err error) []error {
	if errs == nil {
		errs = make([]error, n)
	}
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

var errChecksum = errors.New("its checksum is wrong")
