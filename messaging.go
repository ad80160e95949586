// Package messaging is one API over the message brokers that people already
// run. An application says which kind of channel it needs, a queue or a
// stream, and chooses the product by URL:
//
//	backends := messaging.Backends{"mem": &memory.Backend{}}
//	pub, err := backends.OpenPublisher(ctx, "mem://orders")
//	err = pub.Publish(ctx, messaging.Message{Key: "customer-7", Body: body})
//	sub, err := backends.OpenQueue(ctx, "mem://orders")
//	err = messaging.Consume(ctx, sub, handle, nil)
//
// # Two kinds of channel
//
// A queue is consumed destructively: consumers compete, a settled message is
// gone, a failed one comes back later while others go on. A stream keeps its
// messages: each partition has one owner in a group, its order is exact, a
// cursor moves, and it can be read again. They are two types here,
// [QueueSubscriber] and [StreamSubscriber], and what only one of the models
// has does not exist on the other.
//
// # Demand
//
// Consumption is inverted: a consumer asks with [Subscriber].Receive, or lets
// [Consume] ask, and the broker never delivers more than was asked for.
//
// # Delivery semantics
//
// At most once settles before the handler runs: loss is allowed, a second run
// is not. At least once, the default, settles after the handler succeeded: a
// second run is allowed, loss is not. Nobody delivers exactly once: whoever
// needs an effect once, records it in the same transaction as the effect.
//
// # How it is layered
//
// Interfaces speak wire: a context, a batch, an error. Functions over them
// speak code: [Consume] runs handlers, [Deliveries] is an iterator, [Decode]
// gives typed values. Backends are values in a map ([Backends]); nothing is
// registered by importing it.
package messaging

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"
	"time"
)

// Message is what an application publishes and what it gets back in a
// [Delivery]. The zero value is a message without a key and with no body.
type Message struct {
	// ID is the message's identity, the same on every redelivery, in every
	// group and in the dead letters. Publish assigns one when it is empty.
	// Who publishes again after an error sets it, so that both attempts
	// carry one id.
	ID string

	// Key keeps messages in order: those with one key keep theirs where
	// [Capabilities] say so. It becomes the partition key or the message
	// group of the broker. "" is no key.
	Key string

	// Subject is dotted words, such as "order.eu.created". The pattern of a
	// queue subscription matches it: "*" is one word, "#" zero or more words,
	// anywhere in the pattern. A stream carries it and selects nothing by it.
	Subject string

	// Headers are metadata. Nil is fine.
	Headers Headers

	// Body is the content. It is never interpreted. On Kafka a nil Body is a
	// tombstone, both ways; elsewhere nil and empty are the same.
	Body []byte
}

// NewID returns a random id of 26 letters and digits with at least 128 bits
// of randomness (crypto/rand.Text), the kind that Publish assigns. It is for
// who wants to know the id before publishing, or to publish again with it.
func NewID() string { return rand.Text() }

// Publisher sends messages to one destination. It is safe for concurrent use.
type Publisher interface {
	// Publish returns nil when the broker took responsibility for every
	// message. Otherwise [ErrorAt] tells what became of message i: nil was
	// taken; [ErrUncertain], wrapping the cause, may have been taken; any
	// other error says that it certainly was not. errors.Is on the whole error
	// asks whether any message failed in that way.
	//
	// It retries with the same ids until ctx ends, or for the time that the URL
	// gives with timeout= (30 s) where ctx has no deadline: a lost connection
	// is not the caller's problem. With retry=none it tries once, for senders
	// who would rather lose a message than send it twice.
	//
	// Messages of one key are stored in the order of the call, and of calls
	// that follow one another, except after ErrUncertain. When a message
	// fails by time-out, later ones of its key in the call are not sent and
	// carry the context's error. One that is refused for itself, such as
	// [ErrTooLarge], does not hold back the others.
	//
	// Publish never writes to its arguments and keeps nothing of them: a
	// buffer can be used again when it returns. No messages is nil.
	Publish(ctx context.Context, msgs ...Message) error

	// Close waits a bounded time for what is under way. What was not sent by
	// then returns [ErrClosed] from its Publish, what still awaits an answer
	// ErrUncertain, and then Close returns an error too. Afterwards every
	// Publish is ErrClosed. Closing again is nil.
	Close() error
}

// Subscriber is what a queue's and a stream's subscriber have in common. It
// is safe for concurrent use, except that a stream has one receiver at a
// time.
type Subscriber interface {
	// Receive waits for messages and returns 1 to max of them, or an error:
	// never both, never neither. A max below 1 is an error. It reconnects by
	// itself: an error other than ctx's is final. Ending ctx loses nothing
	// that is arriving: it serves the next Receive, or Close gives it back.
	//
	// Receive waits while the window is full, so that back-pressure needs no
	// other mechanism. inflight= in the URL bounds what a subscriber holds
	// unsettled: in all for a queue (default 256), per partition for a stream
	// (default 1024, 8 MiB a partition and 64 MiB in all, and never less than
	// one message). A partition whose window is full holds back only itself.
	//
	// On a stream a second Receive beside the first is an error. A stream
	// that is read alone to an end= returns io.EOF itself, not wrapped, when
	// all of it was delivered. Retention that overtook a cursor is [ErrTrimmed], unless the
	// URL says trimmed=skip.
	Receive(ctx context.Context, max int) ([]*Delivery, error)

	// Release gives deliveries back untouched, as if they had not been
	// received; where the broker can tell, no attempt is counted. On a queue
	// they are available again at once, to anyone. On a stream it sets each
	// partition back to the earliest of ds, but never below the committed
	// offset: that one and all after it come again, marked Redelivered, and
	// settling one of those in hand is [ErrLost]. A stream's Lease lives on.
	//
	// The error has a place for each argument, see [ErrorAt]. After Close,
	// which has given back everything, Release is nil.
	Release(ctx context.Context, ds ...*Delivery) error

	// Capabilities says what this subscriber promises. It does not block, and
	// does not change while the subscriber is open.
	Capabilities() Capabilities

	// Close gives back everything that is unsettled, and loses its leases, at
	// once. Then every call is [ErrClosed], but a Release, which is nil.
	// Closing again is nil.
	Close() error
}

// QueueSubscriber takes messages from a queue, in competition with the other
// subscribers of its group.
type QueueSubscriber interface {
	Subscriber

	// Ack settles deliveries as done: they do not come again. It returns nil
	// only after the broker's answer, where the broker gives one. Otherwise
	// [ErrorAt] tells what became of argument i: [ErrLost] for a lost lease
	// or a second settle, in which case nothing else was touched;
	// [ErrUncertain] where the answer was lost. A settle that was uncertain
	// may be repeated: that is nil where it had been applied and the broker
	// can tell, else nil or ErrLost. A delivery of another subscriber is an
	// error.
	Ack(ctx context.Context, ds ...*Delivery) error

	// Nack settles deliveries as failed: they come again after delay, with
	// Attempt one higher where it is counted. A delay above
	// [Capabilities].MaxDelay is cut to it; one of 0 or less is none. Its
	// outcomes are those of Ack.
	Nack(ctx context.Context, delay time.Duration, ds ...*Delivery) error
}

// StreamSubscriber reads partitions of a stream: those that its group assigns
// to it, or, without group= in its URL, those that it names.
type StreamSubscriber interface {
	Subscriber

	// Commit records that ds, and everything before them in their partitions,
	// is done, and no more than that. At or below the committed offset it is
	// nil. It commits the partitions that are still ours and returns
	// [ErrLost] at the places of the others. Outcomes are otherwise those of
	// [QueueSubscriber].Ack. Without group= it frees the window and records
	// nothing.
	Commit(ctx context.Context, ds ...*Delivery) error
}

// Delivery is one message, delivered once. Its exported fields are the
// receiver's to read and its Message the receiver's to change; Raw is not to
// be replaced, since settling needs it.
type Delivery struct {
	Message

	// Published is when the broker took the message, by the broker's clock
	// and to its resolution. Zero where it is unknown.
	Published time.Time

	// Attempt counts deliveries of this message to its group, from 1. 0 where
	// the broker does not count, see [Capabilities].
	Attempt int

	// Redelivered says that the message may have been delivered before.
	Redelivered bool

	// Partition is the message's place in a stream. "" for a queue.
	Partition string

	// Offset is the message's position in its partition. "" for a queue.
	Offset Offset

	// Lease is the hold on this delivery, shared by the deliveries of one
	// partition assignment, one connection or one message. Nil is a hold that
	// is never lost.
	Lease *Lease

	// Raw points to the exported type of the backend that delivered it: the
	// native value, and what settling needs.
	Raw any
}

// Offset is a position in a partition. Offsets of different partitions do not
// compare.
type Offset string

// Compare returns -1, 0 or +1 as o lies before, at or after p in a partition:
// the shorter is less, then by text, so that "9" is before "10". Offsets made
// of several parts have parts of fixed width.
func (o Offset) Compare(p Offset) int {
	if c := cmp.Compare(len(o), len(p)); c != 0 {
		return c
	}
	return strings.Compare(string(o), string(p))
}

// Order is a promise about the order of deliveries, or a demand on it. The
// zero value is no demand: in options it means as strict as the subscriber
// promises.
type Order int

const (
	// Unordered promises nothing.
	Unordered Order = iota + 1
	// OrderedByKey keeps the order of messages with one key. On a queue it
	// also means that two messages of one key are never delivered and
	// unsettled at once.
	OrderedByKey
	// Ordered keeps the order of all messages of a partition.
	Ordered
)

// String returns the name of o, as Go code would write it.
func (o Order) String() string {
	switch o {
	case 0:
		return "unspecified"
	case Unordered:
		return "Unordered"
	case OrderedByKey:
		return "OrderedByKey"
	case Ordered:
		return "Ordered"
	}
	return "invalid Order"
}

// Capabilities are what a program may need to know about a subscriber. The
// conformance suite verifies each of them.
type Capabilities struct {
	// Order is the order of deliveries to one subscriber.
	Order Order

	// Attempts says that [Delivery].Attempt is counted.
	Attempts bool

	// ExactAttempts says that it is counted exactly: a Nack, an expired lease
	// and a crash count, Release and Close do not.
	ExactAttempts bool

	// Lease is how long a crashed holder keeps a message from others. 0 means
	// as long as its connection lasts.
	Lease time.Duration

	// MaxDelay is the longest delay of Nack. 0 means that there is none.
	MaxDelay time.Duration

	// MaxMessage is the largest message in bytes. 0 means that no limit is
	// known.
	MaxMessage int

	// Window is the most unsettled deliveries: in all for a queue, per
	// partition for a stream.
	Window int
}
