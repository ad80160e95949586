package conformance

import (
	"context"
	"net/url"
	"time"

	"github.com/fa5182d2/messaging"
)

// Target is one broker that the suite runs against, fresh for each scenario.
// Backend, URL and Timing are required; a nil hook says that the target cannot
// do it, and the cells that need it are not applicable.
type Target struct {
	// Name is what the report calls the target, with its version, such as
	// "rabbitmq 4.0.5, quorum".
	Name string

	// Backend opens everything, a *memory.Backend or one of your own. It is
	// used as messaging.QueueBackend and as messaging.StreamBackend.
	Backend messaging.Backend

	// URL returns the URL of a channel, with what the product needs in it. The
	// suite adds the parameters that all products have: group, subject,
	// inflight, start, end, partition, timeout, retry, trimmed, create. Names
	// are lower-case letters, digits and dashes, unique within a run.
	URL func(channel string) string

	// Ordered returns the URL of a channel whose queue promises OrderedByKey.
	// Nil where there is no such thing.
	Ordered func(channel string) string

	// Dedup returns the URL of a channel that stores one message of those that
	// are published with one id within Timing.Dedup. Nil where there is no such
	// thing.
	Dedup func(channel string) string

	// Virtual says that the target blocks on channels and timers only, so that
	// the suite may run it in a testing/synctest bubble, where waiting takes no
	// time.
	Virtual bool

	// Timing bounds what takes its time.
	Timing Timing

	// Unclaimed are the rules that the target does not promise, by id, each
	// with its reason. Everything else is claimed. Core rules cannot be here.
	Unclaimed map[string]string

	// Hold is how long a queue's subscriber keeps what is unsettled where its
	// URL says nothing: then hold= in the URL changes it. 0 is that there is no
	// such bound, and no such parameter.
	Hold time.Duration

	// Deviations are the rules that an emulator breaks and the broker which it
	// emulates keeps, by id, each with what it does and in which version. A
	// violation is expected then, and its absence is inconclusive.
	Deviations map[string]string

	// Unroutable says what Publish returns for a subject that no subscription
	// matches: true for an error, false for nil.
	Unroutable bool

	// Network is what lies between the clients that Backend opens and the
	// broker: URL, or a Dial of the backend's, leads through it. With it the
	// target can be given the faults F1 to F4 that Faults does not have. Close
	// closes it, if it is the target's own. Nil where there is none.
	Network *Network

	// Native is the broker's own client, without a backend. Nil where there is
	// none.
	Native *Native

	// Close ends the target. Nil is nothing to end.
	Close func()

	Hooks
}

// Hooks are the faults that a target can be given. Each is nil where the
// target cannot, and returns an error where it could not this time.
type Hooks struct {
	// Crash ends a subscriber as a killed process would: its sockets are
	// abandoned, nothing is closed and nothing given back (F8).
	Crash func(messaging.Subscriber) error

	// Freeze stops a subscriber, with everything it does in the background,
	// until thaw: a zombie that wakes after its lease (F9).
	Freeze func(messaging.Subscriber) (thaw func(), err error)

	// Pause stops the broker until resume (F6).
	Pause func(ctx context.Context) (resume func(), err error)

	// Restart kills the broker and starts it again (F5).
	Restart func(ctx context.Context) error

	// MoveLeader takes down the server that leads a channel, or one of its
	// partitions, so that another has to, until back is called (F7).
	MoveLeader func(ctx context.Context, channel string) (back func(context.Context) error, err error)

	// Faults switches on a fault between client and broker, F1 to F4 or F12,
	// with some probability, until heal; cut is how many connections or
	// replies it hit, with something in flight.
	Faults map[string]func(ctx context.Context) (heal func() (hit int), err error)

	// Delete removes a channel behind its users' backs.
	Delete func(ctx context.Context, channel string) error

	// Trim removes a stream's messages before an offset.
	Trim func(ctx context.Context, channel, partition string, before messaging.Offset) error

	// AddPartitions adds partitions to a stream (F13).
	AddPartitions func(ctx context.Context, channel string, n int) error

	// Split splits a partition in two (F13).
	Split func(ctx context.Context, channel, partition string) error

	// StepClock moves the wall clock of broker and client (F16).
	StepClock func(d time.Duration)
}

// Timing is how long a target may take. The zero value means the defaults.
type Timing struct {
	// Operation bounds a call that needs no waiting. 0 means 5 s.
	Operation time.Duration `json:"operation,omitzero"`

	// Redelivery bounds how long after its lease ended a message comes again.
	// 0 means 3 s. Where there is no lease, it counts from the crash.
	Redelivery time.Duration `json:"redelivery,omitzero"`

	// Reconnect bounds how long after a fault was healed everything works
	// again. 0 means 10 s.
	Reconnect time.Duration `json:"reconnect,omitzero"`

	// Session is how long the broker takes to notice a dead member of a
	// stream's group. 0 means the subscriber's lease.
	Session time.Duration `json:"session,omitzero"`

	// Handover bounds a move of a partition in order. 0 means 10 s.
	Handover time.Duration `json:"handover,omitzero"`

	// Quiet is how long nothing more must arrive before a queue counts as
	// empty. 0 means the lease and a second.
	Quiet time.Duration `json:"quiet,omitzero"`

	// Dedup is for how long a channel of Target.Dedup remembers an id, from the
	// first attempt to publish it. 0 means 5 minutes.
	Dedup time.Duration `json:"dedup,omitzero"`

	// ClockSkew is by how much the broker's clock and ours may differ. 0 means
	// 1 s.
	ClockSkew time.Duration `json:"clockSkew,omitzero"`
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Operation, 5*time.Second)
	def(&t.Redelivery, 3*time.Second)
	def(&t.Reconnect, 10*time.Second)
	def(&t.Handover, 10*time.Second)
	def(&t.ClockSkew, time.Second)
	def(&t.Dedup, 5*time.Minute)
	return t
}

// address returns the URL of a channel with parameters over it.
func (t *Target) address(channel string, ordered bool, params url.Values) (*url.URL, error) {
	if ordered {
		return over(t.Ordered(channel), params)
	}
	return over(t.URL(channel), params)
}

// over returns a URL with parameters over its own.
func over(raw string, params url.Values) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	for k, v := range params {
		q[k] = v
	}
	u.RawQuery = q.Encode()
	return u, nil
}
