package conformance

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// record runs a scenario on a fresh target, in a bubble where that is
// virtual, and returns its history, however far it came.
func (s *suite) record(ctx context.Context, sc *scenario) *History {
	h := &History{
		Target: s.first.Name, Flavour: s.flavour, Scenario: sc.name, Fault: sc.fault, Seed: s.seed(sc),
		Timing: s.first.Timing.withDefaults(), Virtual: s.first.Virtual,
		Duplicates: s.first.Unclaimed["Q05"] != "",
	}
	rec := newRecorder(h, s.options.Events, s.spare)
	done := make(chan error, 1)
	go func() {
		if s.first.Virtual {
			done <- bubble(func() error { return s.drive(context.Background(), sc, rec) })
		} else {
			done <- s.drive(ctx, sc, rec)
		}
	}()
	slept := watchStalls()
	t := time.NewTimer(s.options.Wall)
	defer t.Stop()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fmt.Errorf("it was ended: %w", context.Cause(ctx))
	case <-t.C:
		err = fmt.Errorf("%w: after %v by the wall clock", errHung, s.options.Wall)
	}
	rec.seal()
	h.Failure, h.FailureCode = textOf(err), blameOf(err)
	if longest := slept(); !s.first.Virtual {
		h.Stalled = longest // in a bubble, time waits for us
	}
	return h
}

// blameOf returns Hung, Panicked or Nonsense for what is the target's fault.
func blameOf(err error) Code {
	switch c := codeOf(err); c {
	case NoError, Hung, Panicked, Nonsense:
		return c
	}
	return Other
}

// bubble calls f in a synctest bubble. Goroutines that are left in it blocked
// are an error.
func bubble(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("%w: %v", errHung, p))
		}
	}()
	// Nothing in the bubble uses the T. With one of its own the suite works in
	// programs, and a bubble that is left behind disturbs no test.
	synctest.Test(new(testing.T), func(*testing.T) { err = f() })
	return err
}

// watchStalls measures for how long, at most, this process did not run, until
// the function that it returns is called.
func watchStalls() (slept func() time.Duration) {
	const every = 10 * time.Millisecond
	var longest atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			now := time.Now()
			longest.Store(max(longest.Load(), int64(now.Sub(last)-every)))
			last = now
		}
	}()
	return func() time.Duration {
		close(stop)
		<-stopped
		return time.Duration(longest.Load())
	}
}

// drive runs a scenario on a fresh target.
func (s *suite) drive(ctx context.Context, sc *scenario, rec *recorder) (err error) {
	var target *Target
	if err := guarded(func() error { target = s.newTarget(); return target.check(s.flavour) }); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Limit, fmt.Errorf("%w: after %v", errHung, s.options.Limit))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	rec.begin(time.Now())
	h := rec.h
	r := &run{
		recorder: rec, ctx: ctx, stop: stop, target: target, options: &s.options, timing: h.Timing, flavour: s.flavour,
		rng: rand.New(rand.NewPCG(h.Seed, 0)), consume: s.options.Consume,
		channel: fmt.Sprintf("c-%s-%s", strings.ToLower(sc.name), rec.tag),
	}
	r.wg.failed = stop
	return r.finish(func() { sc.drive(r) })
}

// seed returns the seed of a scenario's run.
func (s *suite) seed(sc *scenario) uint64 {
	f := fnv.New64a()
	f.Write([]byte(sc.name))
	return s.options.Seed ^ f.Sum64()
}

// finish calls drive, ends what it left, and turns a failure into an error.
// Whatever hangs is left behind: what can end, ends.
func (r *run) finish(drive func()) error {
	driver := crew{failed: r.stop}
	driver.Go(drive)
	var err error
	select {
	case <-driver.idle():
	case <-r.ctx.Done():
	}
	if r.ctx.Err() != nil {
		err = context.Cause(r.ctx)
	}
	// What is still open is closed, and must end in time.
	r.recorder.end()
	const grace = time.Minute // a Consume gives its handlers half of that
	t := time.NewTimer(r.timing.Operation + 2*r.timing.Reconnect + grace)
	defer t.Stop()
	var closers crew
	for _, o := range r.opened() {
		closers.Go(func() { _ = guarded(o.Close) })
	}
	err = errors.Join(err,
		within(t, closers.idle(), "closing what it had opened"),
		within(t, driver.idle(), "the scenario, after everything was closed"),
		within(t, r.wg.idle(), "what it had begun, after everything was closed"))
	if r.target.Close != nil {
		closers.Go(func() { _ = guarded(func() error { r.target.Close(); return nil }) })
		err = errors.Join(err, within(t, closers.idle(), "closing the target"))
	}
	r.recorder.close()
	return err
}

// opened returns what was opened, the last first.
func (r *run) opened() []interface{ Close() error } {
	r.mu.Lock()
	defer r.mu.Unlock()
	opens := slices.Clone(r.opens)
	slices.Reverse(opens)
	return opens
}

// within waits for done, for as long as t allows.
func within(t *time.Timer, done <-chan struct{}, what string) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-t.C:
		t.Reset(0) // the next has no time left
		return fmt.Errorf("%w: %s", errHung, what)
	}
}
