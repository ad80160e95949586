package conformance_test

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/memory"
)

// saboteur is memory, whose every call first asks before, and whose opens and
// Receives then give what open and receive make of it.
type saboteur struct {
	memory.Backend
	before  func(call string)
	open    func(v any) any
	receive func(ds []*messaging.Delivery, err error) ([]*messaging.Delivery, error)
	publish func(err error) error
}

func (s *saboteur) ask(call string) {
	if s.before != nil {
		s.before(call)
	}
}

func opened[T any](s *saboteur, v T) T {
	if s.open != nil {
		v, _ = s.open(v).(T)
	}
	return v
}

func (s *saboteur) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	s.ask("open publisher")
	p, err := s.Backend.OpenPublisher(ctx, u)
	return opened[messaging.Publisher](s, &sabotagedPublisher{p, s}), err
}

func (s *saboteur) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	s.ask("open queue")
	q, err := s.Backend.OpenQueue(ctx, u)
	return opened[messaging.QueueSubscriber](s, &sabotagedQueue{q, s}), err
}

type sabotagedPublisher struct {
	messaging.Publisher
	s *saboteur
}

func (p *sabotagedPublisher) Publish(ctx context.Context, ms ...messaging.Message) error {
	p.s.ask("publish")
	err := p.Publisher.Publish(ctx, ms...)
	if p.s.publish != nil {
		err = p.s.publish(err)
	}
	return err
}

func (p *sabotagedPublisher) Close() error {
	p.s.ask("close publisher")
	return p.Publisher.Close()
}

type sabotagedQueue struct {
	messaging.QueueSubscriber
	s *saboteur
}

func (q *sabotagedQueue) Unwrap() messaging.Subscriber { return q.QueueSubscriber }

func (q *sabotagedQueue) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	q.s.ask("receive")
	ds, err := q.QueueSubscriber.Receive(ctx, max)
	if q.s.receive != nil {
		ds, err = q.s.receive(ds, err)
	}
	return ds, err
}

func (q *sabotagedQueue) Ack(ctx context.Context, ds ...*messaging.Delivery) error {
	q.s.ask("ack")
	return q.QueueSubscriber.Ack(ctx, ds...)
}

func (q *sabotagedQueue) Capabilities() messaging.Capabilities {
	q.s.ask("capabilities")
	return q.QueueSubscriber.Capabilities()
}

func (q *sabotagedQueue) Close() error {
	q.s.ask("close queue")
	return q.QueueSubscriber.Close()
}

// target returns a target with s as its broker.
func (s *saboteur) target() *conformance.Target {
	return &conformance.Target{
		Name: "sabotaged", Backend: s, Virtual: true,
		URL: func(channel string) string { return "mem://" + channel },
	}
}

var everyCall = []string{"open publisher", "open queue", "publish", "receive", "ack", "capabilities", "close publisher", "close queue"}

// on calls f in the nth call of that name, and in all after it.
func on(call string, nth int64, f func()) func(string) {
	var n atomic.Int64
	return func(c string) {
		if c == call && n.Add(1) >= nth {
			f()
		}
	}
}

// hang never returns, in a way that a bubble notices.
func hang() { select {} }

// suspect runs P01, or the rule of o, against a target, which must take little
// time, and returns its row and its reasons.
func suspect(t *testing.T, newTarget func() *conformance.Target, o conformance.Options) (conformance.Verdict, string) {
	t.Helper()
	o.Seed = 1
	if o.Rules == nil {
		o.Rules = []string{"P01"}
	}
	o.Wall, o.Limit = cmp.Or(o.Wall, 20*time.Second), cmp.Or(o.Limit, time.Minute)
	start := time.Now()
	r, err := conformance.Run(t.Context(), conformance.ForQueue, newTarget, &o)
	if took := time.Since(start); took > o.Wall+10*time.Second {
		t.Errorf("the suite took %v", took)
	}
	if err != nil {
		return "", err.Error()
	}
	return r.Row(o.Rules[0]), reasons(r, o.Rules[0])
}

// broken checks that P01 is violated, for a reason with that text.
func broken(t *testing.T, s func() *saboteur, o conformance.Options, text string) {
	t.Helper()
	v, why := suspect(t, func() *conformance.Target { return s().target() }, o)
	if v != conformance.Violated || !strings.Contains(why, text) {
		t.Errorf("the verdict is %q, want violated with %q: %s", v, text, why)
	}
}

func TestTargetHangs(t *testing.T) {
	leaveBehind(t, func() {
		for _, call := range everyCall {
			for _, nth := range []int64{1, 20} {
				if nth > 1 && (strings.HasPrefix(call, "open") || strings.HasPrefix(call, "close")) {
					continue // no scenario opens so many
				}
				t.Run(call, func(t *testing.T) {
					t.Parallel()
					broken(t, func() *saboteur { return &saboteur{before: on(call, nth, hang)} }, conformance.Options{}, "did not end in time")
				})
			}
		}
	})
}

// TestTargetStuck hangs where a bubble does not notice, as on a mutex or a
// socket, so that only the wall clock can end it; and spins.
func TestTargetStuck(t *testing.T) {
	leaveBehind(t, func() {
		for _, call := range everyCall {
			t.Run(call, func(t *testing.T) {
				t.Parallel()
				release := make(chan struct{})
				defer close(release)
				broken(t, func() *saboteur { return &saboteur{before: on(call, 1, func() { <-release })} },
					conformance.Options{Wall: time.Second}, "by the wall clock")
			})
		}
		for _, call := range []string{"publish", "receive"} {
			t.Run("spins in "+call, func(t *testing.T) {
				var stop atomic.Bool
				defer stop.Store(true)
				broken(t, func() *saboteur {
					return &saboteur{before: on(call, 1, func() {
						for !stop.Load() {
						}
					})}
				}, conformance.Options{Wall: time.Second}, "by the wall clock")
			})
		}
	})
}

func TestTargetPanics(t *testing.T) {
	leaveBehind(t, func() {
		for _, call := range everyCall[:6] {
			t.Run(call, func(t *testing.T) {
				t.Parallel()
				v, why := suspect(t, func() *conformance.Target {
					return (&saboteur{before: on(call, 2, func() { panic("sabotage") })}).target()
				}, conformance.Options{})
				if v != conformance.Violated {
					t.Errorf("the verdict is %q: %s", v, why)
				}
			})
		}
	})
}

func TestTargetNonsense(t *testing.T) {
	leaveBehind(t, func() {
		nothing := func([]*messaging.Delivery, error) ([]*messaging.Delivery, error) { return nil, nil }
		nils := func(ds []*messaging.Delivery, err error) ([]*messaging.Delivery, error) {
			return make([]*messaging.Delivery, max(1, len(ds))), nil
		}
		some := func(ds []*messaging.Delivery, err error) ([]*messaging.Delivery, error) {
			if len(ds) > 0 {
				ds[0] = nil
			}
			return ds, err
		}
		both := func(ds []*messaging.Delivery, err error) ([]*messaging.Delivery, error) {
			return ds, errors.New("sabotage")
		}
		for name, s := range map[string]func() *saboteur{
			"opens nil":          func() *saboteur { return &saboteur{open: func(any) any { return nil }} },
			"opens a typed nil":  func() *saboteur { return &saboteur{open: typedNil} },
			"receives nothing":   func() *saboteur { return &saboteur{receive: nothing} },
			"receives nil":       func() *saboteur { return &saboteur{receive: nils} },
			"receives some nil":  func() *saboteur { return &saboteur{receive: some} },
			"receives and fails": func() *saboteur { return &saboteur{receive: both} },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				broken(t, s, conformance.Options{}, "")
			})
		}
	})
}

func typedNil(v any) any {
	if _, ok := v.(messaging.Publisher); ok {
		return (*sabotagedPublisher)(nil)
	}
	return (*sabotagedQueue)(nil)
}

// evilError panics when its text is asked for.
type evilError struct{}

func (evilError) Error() string { panic("sabotage") }

// TestPublishFails judges publishers whose every error is a lie or useless.
func TestPublishFails(t *testing.T) {
	for name, err := range map[string]error{"always": errors.New("sabotage"), "unknown": messaging.ErrUncertain, "panics": evilError{}} {
		s := func() *conformance.Target { return (&saboteur{publish: func(error) error { return err }}).target() }
		if v, why := suspect(t, s, conformance.Options{}); v == conformance.Held {
			t.Errorf("%s: P01 is held: %s", name, why)
		}
		if slices.Contains(missingRules, "P12") {
			continue
		}
		if v, why := suspect(t, s, conformance.Options{Rules: []string{"P12"}}); v != conformance.Violated {
			t.Errorf("%s: P12 is %s: %s", name, v, why)
		}
	}
}

// TestTargetLosesItsBroker lets every call fail, from some call on.
func TestTargetLosesItsBroker(t *testing.T) {
	leaveBehind(t, func() {
		v, why := suspect(t, func() *conformance.Target {
			var n atomic.Int64
			gone := func() bool { return n.Add(1) > 300 }
			return (&saboteur{
				publish: func(err error) error {
					if gone() {
						return errors.New("connection refused")
					}
					return err
				},
				receive: func(ds []*messaging.Delivery, err error) ([]*messaging.Delivery, error) {
					if gone() {
						return nil, errors.New("connection refused")
					}
					return ds, err
				},
			}).target()
		}, conformance.Options{})
		if v != conformance.Violated {
			t.Errorf("the verdict is %q: %s", v, why)
		}
	})
}

// TestTargetLeftovers judges a broker with one channel, which is full of an
// earlier run.
func TestTargetLeftovers(t *testing.T) {
	b := &memory.Backend{}
	target := func() *conformance.Target {
		return &conformance.Target{Name: "leftovers", Backend: b, Virtual: true, URL: func(string) string { return "mem://one" }}
	}
	pub, err := b.OpenPublisher(t.Context(), &url.URL{Scheme: "mem", Host: "one"})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	for range 5000 {
		// As an earlier run published it, but for its tag.
		if err := pub.Publish(t.Context(), messaging.Message{ID: "1/1", Body: []byte("1/1\n")}); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Contains(missingRules, "P03") {
		return
	}
	if v, why := suspect(t, target, conformance.Options{Rules: []string{"P03"}}); v != conformance.Violated {
		t.Errorf("P03 is %s: %s", v, why)
	}
}

// TestTargetEvents checks that a history that overflows is inconclusive.
func TestTargetEvents(t *testing.T) {
	v, why := suspect(t, newMemory, conformance.Options{Events: 1000})
	if v != conformance.Inconclusive || !strings.Contains(why, "Options.Events") {
		t.Errorf("the verdict is %q: %s", v, why)
	}
}

// TestBadTargets gives Run targets and options that make no sense.
func TestBadTargets(t *testing.T) {
	leaveBehind(t, func() {
		changed := func(f func(*conformance.Target)) func() *conformance.Target {
			return func() *conformance.Target { target := newMemory(); f(target); return target }
		}
		unclaimed := func(id, reason string) func() *conformance.Target {
			return changed(func(target *conformance.Target) { target.Unclaimed = map[string]string{id: reason} })
		}
		for name, c := range map[string]struct {
			target func() *conformance.Target
			o      conformance.Options
			want   string
		}{
			"no newTarget":     {want: "newTarget is nil"},
			"nil":              {target: func() *conformance.Target { return nil }, want: "newTarget returned nil"},
			"panics":           {target: func() *conformance.Target { panic("no docker") }, want: "no docker"},
			"hangs":            {target: func() *conformance.Target { hang(); return nil }, o: conformance.Options{Wall: time.Second}, want: "did not end in time"},
			"close hangs":      {target: changed(func(target *conformance.Target) { target.Close = hang }), o: conformance.Options{Wall: time.Second}, want: "did not end in time"},
			"no name":          {target: changed(func(target *conformance.Target) { target.Name = "" }), want: "needs a Name"},
			"no backend":       {target: changed(func(target *conformance.Target) { target.Backend = nil }), want: "needs a Name"},
			"no queues":        {target: changed(func(target *conformance.Target) { target.Backend = struct{ messaging.Backend }{target.Backend} }), want: "has no queues"},
			"negative timing":  {target: changed(func(target *conformance.Target) { target.Timing.Reconnect = -1 }), want: "negative"},
			"unclaims no rule": {target: unclaimed("P99", "x"), want: "no rule"},
			"unclaims core":    {target: unclaimed("P01", "x"), want: "core rule"},
			"negative wall":    {target: newMemory, o: conformance.Options{Wall: -1}, want: "negative"},
			"negative limit":   {target: newMemory, o: conformance.Options{Limit: -1}, want: "negative"},
			"negative events":  {target: newMemory, o: conformance.Options{Events: -1}, want: "negative"},
			"negative most":    {target: newMemory, o: conformance.Options{Most: -1}, want: "negative"},
		} {
			t.Run(name, func(t *testing.T) {
				if v, why := suspect(t, c.target, c.o); v != "" || !strings.Contains(why, c.want) {
					t.Errorf("the verdict is %q, want an error with %q: %s", v, c.want, why)
				}
			})
		}
		if _, err := conformance.Run(t.Context(), conformance.ForBoth, newMemory, nil); err == nil {
			t.Error("ran both flavours at once")
		}
		if _, err := conformance.Run(t.Context(), conformance.ForQueue, newMemory, &conformance.Options{Rules: []string{"X"}}); err == nil {
			t.Error("ran a rule that there is not")
		}
	})
}

// TestTargetFailsLater makes targets of which the first is fine.
func TestTargetFailsLater(t *testing.T) {
	later := func(f func() *conformance.Target) func() *conformance.Target {
		var once sync.Once
		return func() (target *conformance.Target) {
			first := false
			once.Do(func() { first = true })
			if first {
				return newMemory()
			}
			return f()
		}
	}
	for name, f := range map[string]func() *conformance.Target{
		"nil":     func() *conformance.Target { return nil },
		"panics":  func() *conformance.Target { panic("no docker") },
		"bad url": func() *conformance.Target { t := newMemory(); t.URL = func(string) string { return "://" }; return t },
		"url fails": func() *conformance.Target {
			t := newMemory()
			t.URL = func(string) string { panic("no url") }
			return t
		},
	} {
		if v, why := suspect(t, later(f), conformance.Options{}); v == conformance.Held || v == "" {
			t.Errorf("%s: the verdict is %q: %s", name, v, why)
		}
	}
}

// TestEnded ends Run's context.
func TestEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("lunch"))
	r, err := conformance.Run(ctx, conformance.ForQueue, newMemory, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cells {
		if c.Verdict != conformance.Inconclusive && c.Verdict != conformance.NotApplicable {
			t.Errorf("%s is %s", c.Rule, c.Verdict)
		}
	}
}

// TestRealTime judges a target that is in no bubble.
func TestRealTime(t *testing.T) {
	real := func() *conformance.Target {
		target := newMemory()
		target.Virtual = false
		return target
	}
	var h *conformance.History
	r, err := conformance.Run(t.Context(), conformance.ForQueue, real, &conformance.Options{
		Seed: 1, Rules: []string{"P07"}, Limit: time.Minute, Histories: func(one *conformance.History) { h = one },
	})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Row("P07"); v != conformance.Held {
		t.Errorf("P07 is %s%s", v, reasons(r, "P07"))
	}
	if h.Virtual {
		t.Error("the history says that it is virtual")
	}
}
