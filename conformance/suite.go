package conformance

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// Options are how the suite runs. The zero value is the usual way.
type Options struct {
	// Seed is for everything random. 0 picks one, which the report names.
	Seed uint64

	// Rules are the ids of the rules to check, and only those. Nil is all.
	Rules []string

	// Consume is what is judged as messaging.Consume: a mutant of it. Nil is
	// itself.
	Consume ConsumeFunc

	// Most is the most evidence that a cell needs, for brokers where thousands
	// of redeliveries would take too long: 300. 0 means no cut.
	Most int

	// Limit bounds one run of a scenario, in the target's time. 0 means 10
	// minutes.
	Limit time.Duration

	// Wall bounds one run of a scenario by the wall clock, and is what ends one
	// that spins. 0 means 2 minutes for a virtual target, and Limit and a
	// minute for others.
	Wall time.Duration

	// Events bounds a history. 0 means 2 million.
	Events int

	// Histories, if not nil, is called with each history that was recorded, to
	// save it.
	Histories func(*History)

	// T is the test in which a virtual target's bubbles run. Run needs it for
	// those; Queue and Stream set it.
	T *testing.T
}

// Cell is a rule under a fault.
type Cell struct {
	Rule       string
	Fault      string
	Verdict    Verdict
	Evidence   Evidence // counted
	Needs      Evidence // for held
	Reasons    []string // of every verdict but held
	Violations []Shown
}

// Shown is a violation with the part of its history that shows it.
type Shown struct {
	Scenario string
	Seed     uint64
	Text     string
	Excerpt  []string // lines, see History.Line
	Events   []Event
}

// Report is what the suite found out about a target.
type Report struct {
	Target  string
	Flavour Flavour
	Seed    uint64
	Cells   []Cell // in the order of the rules and their faults
}

// Row returns the verdict of a rule: the worst of its cells.
func (r *Report) Row(rule string) Verdict {
	v := Verdict("")
	for i := range r.Cells {
		if r.Cells[i].Rule != rule {
			continue
		}
		if v == "" {
			v = r.Cells[i].Verdict
		}
		v = worse(v, r.Cells[i].Verdict)
	}
	return v
}

// Queue judges a queue in subtests, one a rule. newTarget is called for each
// run of a scenario.
func Queue(t *testing.T, newTarget func() *Target, o *Options) {
	judge(t, ForQueue, newTarget, o)
}

// Stream judges a stream in subtests, one a rule. newTarget is called for
// each run of a scenario.
func Stream(t *testing.T, newTarget func() *Target, o *Options) {
	judge(t, ForStream, newTarget, o)
}

func judge(t *testing.T, f Flavour, newTarget func() *Target, o *Options) {
	options := Options{}
	if o != nil {
		options = *o
	}
	options.T = t
	report, err := Run(t.Context(), f, newTarget, &options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("conformance: %s, seed %d", report.Target, report.Seed)
	for _, rule := range Rules(f) {
		verdict := report.Row(rule.ID)
		if verdict == "" {
			continue // not among Options.Rules
		}
		t.Run(rule.ID+" "+rule.Name, func(t *testing.T) {
			for i := range report.Cells {
				if c := &report.Cells[i]; c.Rule == rule.ID {
					c.tell(t, rule)
				}
			}
			if verdict == NotClaimed {
				t.Skip("not claimed")
			}
		})
	}
}

// tell reports a cell to a subtest.
func (c *Cell) tell(t *testing.T, rule *Rule) {
	reasons := strings.Join(c.Reasons, "; ")
	switch c.Verdict {
	case Held:
		t.Logf("%s: held: %v", c.Fault, c.Evidence)
	case Violated:
		t.Errorf("under %s, violated: %s\n%s", c.Fault, rule.Sentence, c.excerpts())
	case Inconclusive:
		t.Errorf("under %s, inconclusive: %s; counted %v, needs %v", c.Fault, reasons, c.Evidence, c.Needs)
	default:
		t.Logf("%s: %s: %s", c.Fault, c.Verdict, reasons)
	}
}

func (c *Cell) excerpts() string {
	var b strings.Builder
	for i, v := range c.Violations {
		if i == 3 {
			fmt.Fprintf(&b, "… and %d more\n", len(c.Violations)-i)
			break
		}
		fmt.Fprintf(&b, "%s\n  in %s, seed %d:\n    %s\n", v.Text, v.Scenario, v.Seed, strings.Join(v.Excerpt, "\n    "))
	}
	return b.String()
}

// Rules returns the catalogue's rules for a flavour, by id.
func Rules(f Flavour) []*Rule { return rulesOf(f) }

// Run runs the scenarios that the rules need against fresh targets and judges
// their histories. It returns an error for options or targets that make no
// sense, and otherwise a report: a target that misbehaves, hangs or panics is
// a verdict. It ends when ctx does, with what is missing inconclusive.
func Run(ctx context.Context, f Flavour, newTarget func() *Target, o *Options) (*Report, error) {
	s, err := newSuite(f, newTarget, o)
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	for _, sc := range scenarios() {
		if sc.flavour&f != 0 && s.wants(sc) {
			s.run(ctx, sc)
		}
	}
	return s.report(), nil
}

// suite is one call of Run.
type suite struct {
	flavour   Flavour
	newTarget func() *Target
	options   Options
	first     *Target // for its claims
	cells     map[string]*Cell
}

func newSuite(f Flavour, newTarget func() *Target, o *Options) (*suite, error) {
	s := &suite{flavour: f, newTarget: newTarget, cells: map[string]*Cell{}}
	if o != nil {
		s.options = *o
	}
	if f != ForQueue && f != ForStream {
		return nil, errors.New("the flavour is neither ForQueue nor ForStream")
	}
	if newTarget == nil {
		return nil, errors.New("newTarget is nil")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&s.options.Limit, 10*time.Minute)
	if s.options.Events == 0 {
		s.options.Events = 2_000_000
	}
	if s.options.Seed == 0 {
		s.options.Seed = rand.Uint64()
	}
	if s.options.Consume == nil {
		s.options.Consume = messaging.Consume
	}
	if s.first = newTarget(); s.first == nil {
		return nil, errors.New("newTarget returned nil")
	}
	if s.first.Close != nil {
		defer s.first.Close()
	}
	if s.first.Virtual {
		def(&s.options.Wall, 2*time.Minute)
	} else {
		def(&s.options.Wall, s.options.Limit+time.Minute)
	}
	return s, s.check(s.first)
}

// check says what is wrong with a target.
func (s *suite) check(t *Target) error {
	switch {
	case t.Name == "" || t.Backend == nil || t.URL == nil:
		return errors.New("a target needs a Name, a Backend and a URL")
	case t.Virtual && s.options.T == nil:
		return errors.New("a virtual target runs in a test: set Options.T")
	}
	if _, ok := t.Backend.(messaging.QueueBackend); !ok && s.flavour == ForQueue {
		return fmt.Errorf("a %T has no queues", t.Backend)
	}
	if _, ok := t.Backend.(messaging.StreamBackend); !ok && s.flavour == ForStream {
		return fmt.Errorf("a %T has no streams", t.Backend)
	}
	known := rulesOf(s.flavour)
	for id, reason := range t.Unclaimed {
		i := slices.IndexFunc(known, func(r *Rule) bool { return r.ID == id })
		switch {
		case i < 0 && slices.IndexFunc(rulesOf(ForBoth), func(r *Rule) bool { return r.ID == id }) < 0:
			return fmt.Errorf("the target leaves %q unclaimed, which is no rule", id)
		case i >= 0 && known[i].Core:
			return fmt.Errorf("the target leaves %s unclaimed, which is a core rule", id)
		case reason == "":
			return fmt.Errorf("the target leaves %s unclaimed without a reason", id)
		}
	}
	for _, id := range s.options.Rules {
		if !slices.ContainsFunc(known, func(r *Rule) bool { return r.ID == id }) {
			return fmt.Errorf("Options.Rules has %q, which is no rule of this flavour", id)
		}
	}
	return nil
}

// wanted says whether a rule is among those that are to be checked.
func (s *suite) wanted(rule string) bool {
	return len(s.options.Rules) == 0 || slices.Contains(s.options.Rules, rule)
}

func (s *suite) wants(sc *scenario) bool { return slices.ContainsFunc(sc.rules, s.wanted) }

// run runs one scenario and judges its history.
func (s *suite) run(ctx context.Context, sc *scenario) {
	if sc.needs != nil {
		if why := sc.needs(s.first); why != "" {
			s.each(sc, func(c *Cell) {
				c.Verdict = worseOr(c.Verdict, NotApplicable)
				c.Reasons = append(c.Reasons, sc.name+": "+why)
			})
			return
		}
	}
	h, failed := s.record(ctx, sc)
	if s.options.Histories != nil {
		s.options.Histories(h)
	}
	view := newView(h)
	s.each(sc, func(c *Cell) { s.judge(c, view, failed) })
}

// each calls f with the cell of each wanted rule of sc.
func (s *suite) each(sc *scenario, f func(*Cell)) {
	for _, id := range sc.rules {
		if !s.wanted(id) {
			continue
		}
		key := id + " " + sc.fault
		if s.cells[key] == nil {
			rule := ruleOf(id)
			c := &Cell{Rule: id, Fault: sc.fault, Evidence: Evidence{}, Needs: Evidence{}}
			for name, n := range rule.Cells[sc.fault] {
				if s.options.Most > 0 {
					n = min(n, s.options.Most)
				}
				c.Needs[name] = n
			}
			s.cells[key] = c
		}
		f(s.cells[key])
	}
}

func worseOr(a, b Verdict) Verdict {
	if a == "" {
		return b
	}
	return worse(a, b)
}

// judge adds to a cell what its rule finds in a history.
func (s *suite) judge(c *Cell, v *View, failed error) {
	c.add(v, check(ruleOf(c.Rule), v, failed))
}

// check judges a history by a rule. failed is why its scenario did not come
// to its end, if it did not.
func check(rule *Rule, v *View, failed error) *Finding {
	f := &Finding{}
	switch {
	case v.Overflow:
		f.unsure("%s: events are missing from its history", v.Scenario)
		return f
	case failed != nil && (errors.Is(failed, errHung) || errors.Is(failed, errPanicked)):
		// A broker that hangs or panics keeps none of its promises.
		f.violate(nil, "%s did not come to its end: %v", v.Scenario, failed)
	case failed != nil:
		f.unsure("%s did not come to its end: %v", v.Scenario, failed)
	}
	rule.check(v, f)
	return f
}

// add adds a finding to a cell.
func (c *Cell) add(v *View, f *Finding) {
	for name, n := range f.Evidence {
		c.Evidence[name] += n
	}
	c.Reasons = append(c.Reasons, f.Unsure...)
	if len(f.Unsure) > 0 {
		c.Verdict = worseOr(c.Verdict, Inconclusive)
	}
	for _, bad := range f.Violations {
		c.Verdict = Violated
		c.Violations = append(c.Violations, shown(v.History, bad))
	}
}

// report closes the cells.
func (s *suite) report() *Report {
	r := &Report{Target: s.first.Name, Flavour: s.flavour, Seed: s.options.Seed}
	for _, rule := range rulesOf(s.flavour) {
		for _, fault := range faultsOf(rule) {
			if c := s.cells[rule.ID+" "+fault]; c != nil {
				s.close(c, rule)
				r.Cells = append(r.Cells, *c)
			}
		}
	}
	return r
}

// close gives a cell its verdict.
func (s *suite) close(c *Cell, rule *Rule) {
	if reason, ok := s.first.Unclaimed[c.Rule]; ok {
		if c.Verdict != NotApplicable {
			c.Verdict = NotClaimed
			c.Reasons = append([]string{reason}, c.Reasons...)
		}
		return
	}
	if c.Verdict == Violated || c.Verdict == Inconclusive || c.Verdict == NotApplicable && len(c.Evidence) == 0 {
		return
	}
	c.Verdict = Held
	for name, n := range c.Needs {
		if c.Evidence[name] < n {
			c.Verdict = Inconclusive
			c.Reasons = append(c.Reasons, fmt.Sprintf("counted %d of %q, which needs %d", c.Evidence[name], name, n))
		}
	}
}

// faultsOf returns the faults of a rule's cells, "none" first.
func faultsOf(rule *Rule) []string {
	faults := make([]string, 0, len(rule.Cells))
	for f := range rule.Cells {
		faults = append(faults, f)
	}
	slices.SortFunc(faults, func(a, b string) int {
		if (a == "none") != (b == "none") {
			if a == "none" {
				return -1
			}
			return 1
		}
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return faults
}

// record runs a scenario on a fresh target, in a bubble where that is
// virtual, and returns its history, however far it came, and why it did not
// come further.
func (s *suite) record(ctx context.Context, sc *scenario) (*History, error) {
	type outcome struct {
		h   *History
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.err = fmt.Errorf("%w: %v", errHung, p) // a bubble that is deadlocked panics
			}
			done <- o
		}()
		run := func() { o.h, o.err = s.drive(ctx, sc) }
		if s.first.Virtual {
			// A channel of the world outside would keep time in the bubble
			// from passing: there Wall ends the run.
			ctx = context.WithoutCancel(ctx)
			synctest.Test(s.options.T, func(*testing.T) { run() })
		} else {
			run()
		}
	}()
	t := time.NewTimer(s.options.Wall)
	defer t.Stop()
	var o outcome
	select {
	case o = <-done:
	case <-t.C:
		o.err = fmt.Errorf("%w: %s had not ended after %v by the wall clock", errHung, sc.name, s.options.Wall)
	}
	if o.h == nil {
		o.h = &History{Target: s.first.Name, Scenario: sc.name, Fault: sc.fault, Seed: s.options.Seed, Timing: s.first.Timing.withDefaults()}
	}
	return o.h, o.err
}

// drive runs a scenario on a fresh target.
func (s *suite) drive(ctx context.Context, sc *scenario) (h *History, err error) {
	target := s.newTarget()
	if target.Close != nil {
		defer target.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Limit)
	defer cancel()
	h = &History{
		Target: target.Name, Scenario: sc.name, Fault: sc.fault, Seed: s.seed(sc), Timing: target.Timing.withDefaults(),
		Started: time.Now(), Virtual: target.Virtual,
	}
	r := &run{
		recorder: newRecorder(h, s.options.Events), ctx: ctx, target: target, options: &s.options, timing: h.Timing, flavour: s.flavour,
		rng: rand.New(rand.NewPCG(h.Seed, 0)), consume: s.options.Consume,
		channel: fmt.Sprintf("c-%s-%x", strings.ToLower(sc.name), h.Seed&0xffffff),
	}
	err = r.finish(func() { sc.drive(r) })
	return h, err
}

// seed returns the seed of a scenario's run.
func (s *suite) seed(sc *scenario) uint64 {
	f := fnv.New64a()
	f.Write([]byte(sc.name))
	return s.options.Seed ^ f.Sum64()
}

// finish calls drive, ends what it left, and turns a failure into an error.
func (r *run) finish(drive func()) (err error) {
	ctx := r.ctx
	func() {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case failure:
				err = p.err
			default:
				panic(p) // a bug of the suite
			}
		}()
		drive()
	}()
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %s did not end within %v", errHung, r.h.Scenario, r.options.Limit)
	}
	// What is still open is closed, and must end in time.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := len(r.opens) - 1; i >= 0; i-- {
			_ = guarded(r.opens[i].Close)
		}
		r.wg.Wait()
	}()
	t := time.NewTimer(r.timing.Operation + 2*r.timing.Reconnect)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		err = errors.Join(err, fmt.Errorf("%w: closing what %s had opened", errHung, r.h.Scenario))
	}
	r.recorder.close()
	return err
}
