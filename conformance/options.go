package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fa5182d2/messaging"
)

// Options are how the suite runs. The zero value is the usual way.
type Options struct {
	// Seed is for everything random. 0 picks one, which the report names.
	Seed uint64

	// Rules are the ids of the rules to check, and only those. Nil is all.
	Rules []string

	// Faults are those to run under, "none" or F1 to F16, and only those. Nil is
	// all.
	Faults []string

	// Scenarios are the names of those to run, as a report has them, and only
	// those. Nil is all.
	Scenarios []string

	// Consume is what is judged as messaging.Consume: a mutant of it. Nil is
	// itself.
	Consume ConsumeFunc

	// Most is the most evidence that a cell needs, for brokers where thousands
	// of redeliveries would take too long: 300. 0 means no cut.
	Most int

	// Limit bounds one run of a scenario, in the target's time. 0 means 10
	// minutes, and 3 hours for a virtual target, where a crowd that dies one
	// after the other takes its time.
	Limit time.Duration

	// Wall bounds one run of a scenario by the wall clock, and is what ends one
	// that spins. 0 means 2 minutes for a virtual target, and 2 minutes
	// more than Limit for others.
	Wall time.Duration

	// Events bounds a history. 0 means 2 million.
	Events int

	// Histories, if not nil, is called with each history that was recorded, to
	// save it.
	Histories func(*History)

	// Reports, if not nil, is called by Queue and Stream with their report, to
	// write it.
	Reports func(*Report)
}

func newSuite(f Flavour, newTarget func() *Target, o *Options) (*suite, error) {
	s := &suite{newTarget: newTarget}
	if o != nil {
		s.options = *o
	}
	if newTarget == nil {
		return nil, errors.New("newTarget is nil")
	}
	if err := s.options.check(); err != nil {
		return nil, err
	}
	var err error
	if s.first, err = s.probe(f); err != nil {
		return nil, err
	}
	if s.first.Virtual {
		s.options.Limit = cmp.Or(s.options.Limit, 3*time.Hour)
		s.options.Wall = cmp.Or(s.options.Wall, 2*time.Minute)
	}
	s.options.Limit = cmp.Or(s.options.Limit, 10*time.Minute)
	s.options.Wall = cmp.Or(s.options.Wall, s.options.Limit+time.Minute)
	s.judge = newJudge(f, Claims{s.first.Unclaimed, s.first.Deviations, s.options.Rules, s.options.Most})
	s.judge.partly = len(s.options.Faults)+len(s.options.Scenarios) > 0
	return s, s.judge.claims.check(f)
}

// check fills in what is zero, and says what makes no sense.
func (o *Options) check() error {
	if o.Limit < 0 || o.Wall < 0 || o.Events < 0 {
		return errors.New("Options has a negative Limit, Wall or Events")
	}
	for _, f := range o.Faults {
		if !slices.ContainsFunc(scenarios(), func(sc *scenario) bool { return sc.fault == f }) {
			return fmt.Errorf("Options.Faults has %q, under which no scenario runs", f)
		}
	}
	for _, name := range o.Scenarios {
		if !slices.ContainsFunc(scenarios(), func(sc *scenario) bool { return sc.name == name }) {
			return fmt.Errorf("Options.Scenarios has %q, which is none", name)
		}
	}
	o.Events = cmp.Or(o.Events, 2_000_000)
	for o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Consume == nil {
		o.Consume = messaging.Consume
	}
	return nil
}

// chosen says whether a scenario is among those to run.
func (o *Options) chosen(sc *scenario) bool {
	return (len(o.Faults) == 0 || slices.Contains(o.Faults, sc.fault)) && (len(o.Scenarios) == 0 || slices.Contains(o.Scenarios, sc.name))
}

// probe makes a target to see what it claims, and ends it.
func (s *suite) probe(f Flavour) (*Target, error) {
	const bound = time.Minute
	var t *Target
	done := make(chan error, 1)
	go func() {
		done <- guarded(func() error {
			made := s.newTarget()
			if err := made.check(f); err != nil {
				return err
			}
			if t = made; t.Close != nil {
				t.Close()
			}
			return nil
		})
	}()
	timer := time.NewTimer(cmp.Or(s.options.Wall, bound))
	defer timer.Stop()
	select {
	case err := <-done:
		return t, err
	case <-timer.C:
		return nil, fmt.Errorf("%w: making a target, and closing it", errHung)
	}
}

// check says what is wrong with a target.
func (t *Target) check(f Flavour) error {
	switch {
	case t == nil:
		return errors.New("newTarget returned nil")
	case t.Name == "" || t.Backend == nil || t.URL == nil:
		return errors.New("a target needs a Name, a Backend and a URL")
	}
	if _, ok := t.Backend.(messaging.QueueBackend); !ok && f == ForQueue {
		return fmt.Errorf("a %T has no queues", t.Backend)
	}
	if _, ok := t.Backend.(messaging.StreamBackend); !ok && f == ForStream {
		return fmt.Errorf("a %T has no streams", t.Backend)
	}
	return t.Timing.check()
}

func (t Timing) check() error {
	for _, d := range []time.Duration{t.Operation, t.Redelivery, t.Reconnect, t.Session, t.Handover, t.Quiet, t.ClockSkew, t.Dedup} {
		if d < 0 {
			return errors.New("the target's Timing has a negative time")
		}
	}
	return nil
}
