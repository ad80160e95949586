package conformance

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// scenario drives a target in one way, under one fault, and so makes a
// history for several rules.
type scenario struct {
	name    string
	flavour Flavour
	fault   string               // "none", or F1 to F16
	rules   []string             // that are judged by its history
	needs   func(*Target) string // why the target cannot be given it; "" is that it can
	drive   func(*run)
}

// Flavour is which kind of channel a rule or scenario is for.
type Flavour int

const (
	ForQueue  Flavour = 1
	ForStream Flavour = 2
	ForBoth   Flavour = ForQueue | ForStream
)

// String returns queue, stream or both.
func (f Flavour) String() string {
	switch f {
	case ForQueue:
		return "queue"
	case ForStream:
		return "stream"
	case ForBoth:
		return "both"
	}
	return "neither"
}

// MarshalText returns what String does.
func (f Flavour) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText accepts what MarshalText returns.
func (f *Flavour) UnmarshalText(text []byte) error {
	for _, known := range []Flavour{0, ForQueue, ForStream, ForBoth} {
		if string(text) == known.String() {
			*f = known
			return nil
		}
	}
	return fmt.Errorf("flavour %q: want queue or stream", clip(string(text), 20))
}

// run is one run of a scenario on a target: what the scenario's code uses.
// Its methods fail the run with a panic of type failure, which the suite
// turns into an inconclusive verdict, or into a violation where the target
// hung or panicked.
type run struct {
	*recorder
	ctx     context.Context // ends when the run has taken too long, or failed
	stop    context.CancelCauseFunc
	target  *Target
	options *Options
	timing  Timing
	flavour Flavour
	rng     *rand.Rand // of the scenario's main goroutine only
	channel string     // a fresh name
	consume ConsumeFunc

	mu    sync.Mutex
	opens []interface{ Close() error } // to be closed at the end
	wg    crew
}

// ConsumeFunc is messaging.Consume, or a mutant of it.
type ConsumeFunc func(context.Context, messaging.Subscriber, messaging.Handler, *messaging.ConsumeOptions) error

// failure is a panic that ends a run.
type failure struct {
	err  error
	hung bool
}

// fail ends the run: the scenario could not be driven.
func (r *run) fail(format string, args ...any) {
	panic(failure{err: fmt.Errorf(format, args...)})
}

// params are URL parameters, as pairs.
func params(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// open is what a scenario opens.
type open struct {
	channel string // "" is the run's
	ordered bool   // a queue that promises OrderedByKey
	params  url.Values
	hold    time.Duration // 0 is the target's
	dedup   bool          // a channel that remembers ids
	refuse  Code          // why opening it has to be refused; "" is that it has not
}

func (r *run) begin(role Role, o *open) (*url.URL, Session) {
	if o.channel == "" {
		o.channel = r.channel
	}
	if o.hold == 0 || r.target.Hold == 0 {
		o.hold = r.target.Hold
	} else {
		o.params = maps.Clone(o.params)
		if o.params == nil {
			o.params = url.Values{}
		}
		o.params.Set("hold", o.hold.String())
	}
	var u *url.URL
	var err error
	if o.dedup {
		u, err = over(r.target.Dedup(o.channel), o.params)
	} else {
		u, err = r.target.address(o.channel, o.ordered, o.params)
	}
	if err != nil {
		r.fail("the target's URL of %q: %w", o.channel, err)
	}
	return u, Session{
		Role: role, Channel: o.channel, Group: o.params.Get("group"), Subject: o.params.Get("subject"),
		Start: o.params.Get("start"), End: o.params.Get("end"), Only: o.params.Get("partition"), Hold: o.hold,
		Skip: o.params.Get("trimmed") == "skip",
	}
}

// opening opens something within the time that one call may take, and
// records it.
func opening[T interface{ Close() error }](r *run, s Session, refuse Code, f func(ctx context.Context) (T, error), fill func(*Session, T)) (T, int, error) {
	var t T
	call := r.call()
	invoked := Event{Kind: Open, Phase: Invoke, Call: call, Code: refuse}
	r.add(invoked)
	ctx, cancel := context.WithTimeout(r.ctx, r.timing.Operation+r.timing.Reconnect)
	defer cancel()
	err := guarded(func() (err error) { t, err = f(ctx); return err })
	n := 0
	if err == nil {
		if isNil(t) {
			panic(failure{err: fmt.Errorf("%w: open returned nil and no error", errNonsense)})
		}
		if fill != nil {
			if err := guarded(func() error { fill(&s, t); return nil }); err != nil {
				panic(failure{err: err})
			}
		}
		n = r.session(s)
		r.mu.Lock()
		r.opens = append(r.opens, t)
		r.mu.Unlock()
	}
	r.add(Event{Kind: Open, Phase: phaseOf(err), Call: call, Session: n, Code: codeOf(err), Text: textOf(err)})
	return t, n, err
}

// isNil says whether v is nil, or an interface that holds a nil pointer.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

// publisher opens a publisher.
func (r *run) publisher(o open) (*publisher, error) {
	u, s := r.begin(RolePublisher, &o)
	p, n, err := opening(r, s, o.refuse, func(ctx context.Context) (messaging.Publisher, error) {
		return r.target.Backend.OpenPublisher(ctx, u)
	}, nil)
	return &publisher{Publisher: p, r: r.recorder, n: n, channel: o.channel}, err
}

// queue opens a queue's subscriber.
func (r *run) queue(o open) (*queue, error) {
	u, s := r.begin(RoleQueue, &o)
	q, n, err := opening(r, s, o.refuse, func(ctx context.Context) (messaging.QueueSubscriber, error) {
		return r.target.Backend.(messaging.QueueBackend).OpenQueue(ctx, u)
	}, func(s *Session, q messaging.QueueSubscriber) { s.take(q.Capabilities()) })
	return &queue{subscriber{inner: q, r: r.recorder, n: n}}, err
}

// stream opens a stream's subscriber.
func (r *run) stream(o open) (*stream, error) {
	u, s := r.begin(RoleStream, &o)
	q, n, err := opening(r, s, o.refuse, func(ctx context.Context) (messaging.StreamSubscriber, error) {
		return r.target.Backend.(messaging.StreamBackend).OpenStream(ctx, u)
	}, func(s *Session, q messaging.StreamSubscriber) { s.take(q.Capabilities()) })
	return &stream{subscriber{inner: q, r: r.recorder, n: n}}, err
}

func (s *Session) take(c messaging.Capabilities) {
	s.Order, s.Window, s.Lease, s.MaxDelay = c.Order.String(), c.Window, c.Lease, c.MaxDelay
	s.Attempts, s.ExactAttempts = c.Attempts, c.ExactAttempts
}

// must ends the run when something could not be opened.
func must[T any](r *run) func(T, error) T {
	return func(t T, err error) T {
		if err != nil {
			panic(failure{err: err})
		}
		return t
	}
}

// shape says what the messages of a scenario look like.
type shape struct {
	keys     int      // how many different ones; 0 is none
	subjects []string // in turn; nil is none
	ids      bool     // the caller sets them
	size     int      // of the body, at most; 0 is small
	odd      bool     // now and then empty, not UTF-8, with many headers
}

// message makes a message for p and returns its number.
func (r *run) message(p *publisher, rng *rand.Rand, s shape) int {
	counter := int(p.counter.Add(1))
	v := r.tag + "/" + value(p.n, counter)
	m := messaging.Message{Body: []byte(v + "\n")}
	if s.ids {
		m.ID = v
	}
	if s.keys > 0 {
		m.Key = "key-" + strconv.Itoa(rng.IntN(s.keys))
	}
	if len(s.subjects) > 0 {
		m.Subject = s.subjects[rng.IntN(len(s.subjects))]
	}
	for range rng.IntN(max(1, s.size)) {
		m.Body = append(m.Body, byte(rng.IntN(256)))
	}
	for range rng.IntN(3) {
		m.Headers = append(m.Headers, messaging.Header{Key: "h" + strconv.Itoa(rng.IntN(3)), Value: strconv.Itoa(rng.Int())})
	}
	if s.odd {
		oddities(&m, v, rng)
	}
	return r.register(Message{Producer: p.n, Counter: counter, Channel: p.channel}, m)
}

func oddities(m *messaging.Message, v string, rng *rand.Rand) {
	switch rng.IntN(12) {
	case 0:
		m.ID, m.Body = v, nil
	case 1:
		m.ID, m.Body, m.Headers = v, []byte{}, nil
	case 2:
		m.Headers = append(m.Headers, messaging.Header{Key: "ключ \x00\xff", Value: "\xff\xfe ünï"}, messaging.Header{})
	case 3:
		for i := range 40 {
			m.Headers = append(m.Headers, messaging.Header{Key: "many-" + strconv.Itoa(i), Value: "v"})
		}
	case 4:
		m.Key = "Key/Ключ ß:" + strconv.Itoa(rng.IntN(5)) + "?&=#%+"
	case 5:
		m.Key = strings.Repeat("long-", 40) + strconv.Itoa(rng.IntN(5))
	case 6:
		m.Subject = "Order.größe.x_1-y"
	case 7:
		m.Key, m.Subject = "", strings.Repeat("word.", 30)+"end"
	}
}

// publish makes n messages and publishes them in one call, within the time
// that the target may take under a fault.
func (r *run) publish(p *publisher, rng *rand.Rand, n int, s shape) error {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = r.message(p, rng, s)
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.timing.Operation+r.timing.Reconnect)
	defer cancel()
	return p.publish(ctx, numbers)
}

// random returns a generator of a goroutine of its own, from the run's seed.
func (r *run) random(n int) *rand.Rand {
	return rand.New(rand.NewPCG(r.h.Seed, uint64(n)))
}

// note records something that is worth reading in an excerpt.
func (r *run) note(format string, args ...any) {
	r.add(Event{Kind: Note, Text: fmt.Sprintf(format, args...)})
}

// fact records a number that a rule looks at.
func (r *run) fact(name string, n int64) {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	if r.h.Facts == nil {
		r.h.Facts = map[string]int64{}
	}
	r.h.Facts[name] = n
}

// fault records a fault around what happens while it lasts: it begins now and
// is over when end is called with how often it hit something.
func (r *run) fault(name string) (end func(hit int)) {
	call := r.call()
	r.add(Event{Kind: Fault, Phase: Invoke, Call: call, Text: name})
	return func(hit int) { r.add(Event{Kind: Fault, Phase: OK, Call: call, Text: name, Max: hit}) }
}

// inject switches on one of the target's Faults until heal is called, and
// records it.
func (r *run) inject(name string) (heal func()) {
	end := r.fault(name)
	if r.target.Faults[name] == nil {
		stop := r.target.Network.fault(r.ctx, name, r.random(2000+r.call()), func(connections int) { r.cut(name, connections) })
		return func() { end(stop()) }
	}
	stop, err := r.target.Faults[name](r.ctx)
	if err != nil {
		r.fail("fault %s: %w", name, err)
	}
	return func() { end(stop()) }
}

// crash ends a subscriber as a killed process would.
func (r *run) crash(s *subscriber) {
	r.add(Event{Kind: Crash, Session: s.n})
	if err := guarded(func() error { return r.target.Crash(unwrap(s.inner)) }); err != nil {
		r.fail("crash: %w", err)
	}
}

// unwrap returns the subscriber that the target itself opened, from within
// what a mutant put around it.
func unwrap(s messaging.Subscriber) messaging.Subscriber {
	for {
		u, ok := s.(interface{ Unwrap() messaging.Subscriber })
		if !ok {
			return s
		}
		s = u.Unwrap()
	}
}

// freeze stops a subscriber until thaw.
func (r *run) freeze(s *subscriber) (thaw func()) {
	r.add(Event{Kind: Freeze, Session: s.n})
	var f func()
	err := guarded(func() (err error) { f, err = r.target.Freeze(unwrap(s.inner)); return err })
	if err != nil {
		r.fail("freeze: %w", err)
	}
	return func() {
		r.add(Event{Kind: Thaw, Session: s.n})
		f()
	}
}

// lease returns how long to wait until what a dead holder had comes again.
func (r *run) lease(c messaging.Capabilities) time.Duration {
	return c.Lease + r.timing.Redelivery
}

// pause lets time pass in which a lease, a session or a delay has to end. It
// is not for waiting for something that has an event.
func (r *run) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.ctx.Done():
	}
}
