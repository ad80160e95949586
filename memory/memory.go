package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/params"
)

// Backend is a broker in this process, and the defaults of what is opened on
// it: a URL's parameters override its fields. The zero value is ready. Set the
// fields before the first call and do not copy it afterwards. Its methods are
// safe for concurrent use.
type Backend struct {
	// Partitions is how many partitions a new channel's stream has,
	// partitions= in a URL. 0 means 4.
	Partitions int

	// Lease is how long the broker waits for a subscriber that died before
	// others get what it held, lease= in a URL: a queue's messages, a stream's
	// partitions. 0 means 30 s.
	Lease time.Duration

	// Hold is how long a queue's subscriber may keep a message unsettled
	// before it is lost, hold= in a URL. 0 means 1 h.
	Hold time.Duration

	// Handover is how long a partition that moves in order waits for what its
	// former owner has in hand, handover= in a URL. 0 means 10 s.
	Handover time.Duration

	// Order is what a new queue subscription promises, order=unordered or
	// order=key in a URL: Unordered, which shuffles on purpose, or
	// OrderedByKey. 0 means Unordered.
	Order messaging.Order

	// Dedup is for how long a channel ignores a message whose id it has
	// stored, dedup= in a URL. 0 means not at all.
	Dedup time.Duration

	// Retain is how many bytes of messages a new channel's stream keeps of
	// what every group has committed, retain= in a URL. 0 means 256 MiB,
	// below 0 without limit.
	Retain int

	// Inflight is the window: the most unsettled deliveries of a queue's
	// subscriber, or of each partition of a stream's, inflight= in a URL. 0
	// means 256 and 1024.
	Inflight int

	// MaxMessage is the largest message in bytes, its headers included. 0
	// means 16 MiB.
	MaxMessage int

	// Timeout bounds a Publish whose context has no deadline, timeout= in a
	// URL. 0 means 30 s.
	Timeout time.Duration

	// NoRetry makes Publish try once, retry=none in a URL.
	NoRetry bool

	// NoCreate makes opening what does not exist ErrNotFound, create=false in
	// a URL.
	NoCreate bool

	// Kind is "queue" or "stream" where new channels are to be only that,
	// kind= in a URL: a queue keeps no log, and a stream no queue. "" means
	// both.
	Kind string

	// Group, Subject, Partition, Start, End and Trimmed are the URL's group=,
	// subject=, partition=, start=, end= and trimmed=.
	Group, Subject, Partition, Start, End, Trimmed string

	// Seed is for everything random here: the order of unordered queues, and
	// Chaos. seed= in a URL. 0 means a seed of its own for each channel; it is
	// logged.
	Seed uint64

	// Chaos are faults, for tests. The zero value is none. SetChaos changes
	// them later.
	Chaos Chaos

	// Logger hears rebalances and lost leases. Nil is silent.
	Logger *slog.Logger

	mu       sync.Mutex
	channels map[string]*channel
	gate     gate
	asked    atomic.Pointer[time.Time] // when the system was asked for the time of day
	skew     atomic.Int64              // what StepClock moved the wall clock by
	chaos    atomic.Pointer[Chaos]     // of SetChaos, or nil
	chaosHit atomic.Int64              // faults that happened
}

var (
	_ messaging.QueueBackend  = (*Backend)(nil)
	_ messaging.StreamBackend = (*Backend)(nil)
)

// OpenPublisher opens a publisher to the channel that u names, mem://orders.
// It creates the channel if there is none, unless create=false.
func (b *Backend) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	c, o, err := b.open(ctx, u, "")
	if err != nil {
		return nil, fmt.Errorf("memory: open publisher %s: %w", params.Redacted(u), err)
	}
	return newPublisher(c, o), nil
}

// OpenQueue opens a subscriber to the queue of the channel that u names. It
// creates the channel and the subscription that group= names where they do
// not exist, unless create=false.
func (b *Backend) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	c, o, err := b.open(ctx, u, "queue")
	if err == nil {
		var q *queue
		if q, err = c.openQueue(o); err == nil {
			return q, nil
		}
	}
	return nil, fmt.Errorf("memory: open queue %s: %w", params.Redacted(u), err)
}

// OpenStream opens a subscriber to the stream of the channel that u names. It
// creates the channel and the group that group= names where they do not
// exist, unless create=false.
func (b *Backend) OpenStream(ctx context.Context, u *url.URL) (messaging.StreamSubscriber, error) {
	c, o, err := b.open(ctx, u, "stream")
	if err == nil {
		var s *stream
		if s, err = c.openStream(o); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("memory: open stream %s: %w", params.Redacted(u), err)
}

// open parses u and finds or creates its channel, for a publisher or a
// subscriber of that kind. What is wrong with u or b is an error before
// anything is created.
func (b *Backend) open(ctx context.Context, u *url.URL, kind string) (*channel, *options, error) {
	if u == nil {
		return nil, nil, errors.New("the url is nil: want mem://NAME")
	}
	o, err := b.parse(u)
	if err := errors.Join(err, b.check()); err != nil {
		return nil, nil, err
	}
	if kind != "" && o.kind != "" && o.kind != kind {
		return nil, nil, fmt.Errorf("a %s is opened and the kind is %s: %w", kind, o.kind, errors.ErrUnsupported)
	}
	if kind == "stream" {
		if err := o.checkPositions(); err != nil {
			return nil, nil, err
		}
	}
	if err := b.gate.wait(ctx); err != nil {
		return nil, nil, err
	}
	c, created, err := b.channel(o)
	if created && o.seed == 0 {
		// Not while anything is locked: a log's handler may well publish.
		b.logger().Info("memory: a new channel has a random seed; open with it to see the same again", "channel", c.name, "seed", c.seed)
	}
	return c, o, err
}

// channel finds or creates the channel that o names.
func (b *Backend) channel(o *options) (c *channel, created bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.channels[o.name]; c != nil {
		return c, false, c.fits(o)
	}
	if !o.create {
		return nil, false, fmt.Errorf("no channel %q: %w", o.name, messaging.ErrNotFound)
	}
	if b.channels == nil {
		b.channels = map[string]*channel{}
	}
	c = newChannel(b, o)
	b.channels[o.name] = c
	return c, true, nil
}

// askClock is how often the broker asks the system for the time of day. In
// between it counts from there, which costs half as much.
const askClock = 100 * time.Millisecond

// now is the broker's wall clock.
func (b *Backend) now() time.Time {
	skew := time.Duration(b.skew.Load())
	if asked := b.asked.Load(); asked != nil {
		if passed := time.Since(*asked); passed < askClock {
			return asked.Add(passed + skew).Round(0)
		}
	}
	now := time.Now()
	b.asked.Store(&now)
	return now.Add(skew).Round(0)
}

func (b *Backend) logger() *slog.Logger {
	if b.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return b.Logger
}

// channel is one name on the broker: a log, queue subscriptions, or both.
type channel struct {
	b     *Backend
	name  string
	made  options // those of the open that created it
	seed  uint64
	chaos *chaos
	log   *log // nil where kind=queue

	mu         sync.Mutex // before a subscription's own
	removed    bool
	subscribed bool // somebody has opened a subscriber: retention may trim
	published  uint64
	subs       map[string]*subscription // by group; nil where kind=stream
	routes     []*subscription          // those of subs, in the order of their creation
	claimed    bool                     // the default subscription was opened
	pages      pages                    // what routes and backlog hold
	backlog    backlog                  // for the default subscription, before it is opened; empty where there is a log
	recent     *recent                  // nil without dedup=
}

// fits reports what o asks of a channel that exists and is otherwise.
func (c *channel) fits(o *options) error {
	switch {
	case o.kind != "" && c.made.kind != "" && o.kind != c.made.kind:
		return fmt.Errorf("channel %q was created with kind=%s: %w", c.name, c.made.kind, errors.ErrUnsupported)
	case o.given("partitions") && o.partitions != c.made.partitions:
		return fmt.Errorf("channel %q was created with partitions=%d, not %d: say so where it is opened first", c.name, c.made.partitions, o.partitions)
	case o.given("dedup") && o.dedup != c.made.dedup:
		return fmt.Errorf("channel %q was created with dedup=%v, not %v: say so where it is opened first", c.name, c.made.dedup, o.dedup)
	case o.given("retain") && o.retain != c.made.retain:
		return fmt.Errorf("channel %q was created with retain=%d, not %d: say so where it is opened first", c.name, c.made.retain, o.retain)
	}
	return nil
}
