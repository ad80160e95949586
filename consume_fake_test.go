package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// fake is a subscriber whose every answer a test chooses. It is for what a
// real broker cannot be made to show at will: settles that hang, fail or are
// uncertain, and leases that end at a chosen moment.
type fake struct {
	caps messaging.Capabilities

	mu       sync.Mutex
	arriving []*messaging.Delivery
	final    error // of Receive, when nothing is left to arrive
	changed  chan struct{}
	settles  []settled
	inHand   int // delivered and not settled
	mostAsked,
	mostHeld int

	// answer, if not nil, gives the outcome of a settle; it may block.
	answer func(ctx context.Context, s settled) error
}

// settled is one call of a settle, as it was made.
type settled struct {
	verb  string
	delay time.Duration
	ids   []string
	err   error
	at    time.Time
}

func (s settled) String() string { return fmt.Sprint(s.verb, s.ids) }

func newFake() *fake {
	return &fake{
		caps:    messaging.Capabilities{Order: messaging.Ordered, Attempts: true, ExactAttempts: true, MaxDelay: time.Hour, Window: 256},
		changed: make(chan struct{}),
	}
}

func (f *fake) touch() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// arrive makes deliveries available to Receive.
func (f *fake) arrive(ds ...*messaging.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arriving = append(f.arriving, ds...)
	f.touch()
}

// end makes Receive return err when nothing is left to arrive.
func (f *fake) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.final = err
	f.touch()
}

func (f *fake) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	for {
		f.mu.Lock()
		f.mostAsked = greater(f.mostAsked, max)
		if n := min(max, len(f.arriving)); n > 0 {
			ds := f.arriving[:n:n]
			f.arriving = f.arriving[n:]
			f.inHand += n
			f.mostHeld = greater(f.mostHeld, f.inHand)
			f.mu.Unlock()
			return ds, nil
		}
		final, changed := f.final, f.changed
		f.mu.Unlock()
		if final != nil {
			return nil, final
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func greater(a, b int) int { return max(a, b) } // Receive's max hides the built-in one

func (f *fake) settle(ctx context.Context, verb string, delay time.Duration, ds []*messaging.Delivery) error {
	s := settled{verb: verb, delay: delay, at: time.Now()}
	for _, d := range ds {
		s.ids = append(s.ids, d.ID)
	}
	if f.answer != nil {
		s.err = f.answer(ctx, s)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settles = append(f.settles, s)
	if s.err == nil {
		f.inHand -= len(ds)
	}
	return s.err
}

func (f *fake) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	return f.settle(ctx, "release", 0, ds)
}
func (f *fake) Capabilities() messaging.Capabilities { return f.caps }
func (f *fake) Close() error                         { return nil }

// done returns the ids that were settled so, without an error, in order.
func (f *fake) done(verb string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for _, s := range f.settles {
		if s.verb == verb && s.err == nil {
			ids = append(ids, s.ids...)
		}
	}
	return ids
}

// all returns the settles so far.
func (f *fake) all() []settled {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.settles)
}

type fakeQueue struct{ *fake }

func newQueue() fakeQueue {
	f := newFake()
	f.caps.Order = messaging.OrderedByKey
	return fakeQueue{f}
}

func (f fakeQueue) Ack(ctx context.Context, ds ...*messaging.Delivery) error {
	return f.settle(ctx, "ack", 0, ds)
}
func (f fakeQueue) Nack(ctx context.Context, delay time.Duration, ds ...*messaging.Delivery) error {
	return f.settle(ctx, "nack", delay, ds)
}

type fakeStream struct{ *fake }

func newStream() fakeStream {
	f := newFake()
	f.caps.Attempts = false
	return fakeStream{f}
}

func (f fakeStream) Commit(ctx context.Context, ds ...*messaging.Delivery) error {
	return f.settle(ctx, "commit", 0, ds)
}

// inner returns the fake in s.
func inner(s messaging.Subscriber) *fake {
	if q, ok := s.(fakeQueue); ok {
		return q.fake
	}
	return s.(fakeStream).fake
}

// message returns a queue's delivery.
func message(id string) *messaging.Delivery {
	return &messaging.Delivery{Message: messaging.Message{ID: id, Body: []byte(id)}, Attempt: 1, Lease: new(messaging.Lease)}
}

// messages returns n of a queue, with the ids "1" to n.
func messages(n int) []*messaging.Delivery {
	var ds []*messaging.Delivery
	for i := range n {
		ds = append(ds, message(strconv.Itoa(i+1)))
	}
	return ds
}

// records returns deliveries of a partition, with the ids partition/offset
// from offset first on, and one key each of keys in turn.
func records(lease *messaging.Lease, partition string, first, n int, keys ...string) []*messaging.Delivery {
	var ds []*messaging.Delivery
	for i := range n {
		offset := strconv.Itoa(first + i)
		d := &messaging.Delivery{Partition: partition, Offset: messaging.Offset(offset), Lease: lease}
		d.ID = partition + "/" + offset
		if len(keys) > 0 {
			d.Key = keys[i%len(keys)]
		}
		ds = append(ds, d)
	}
	return ds
}

// consuming is a Consume under way.
type consuming struct {
	stop   context.CancelFunc
	result chan error
}

// consume starts Consume.
func consume(t *testing.T, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) *consuming {
	ctx, stop := context.WithCancel(t.Context())
	c := &consuming{stop: stop, result: make(chan error, 1)}
	go func() { c.result <- messaging.Consume(ctx, s, h, o) }()
	t.Cleanup(stop)
	return c
}

// end ends ctx and returns what Consume returned.
func (c *consuming) end() error {
	c.stop()
	return <-c.result
}

// log is a list of what happened, safe for concurrent use.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func (l *log) onError(d *messaging.Delivery, err error) { l.add("%s: %v", d.ID, err) }

func equal[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

var errBroken = errors.New("broken")
