package conformance

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Queue judges a queue in subtests, one a rule. newTarget is called for each
// run of a scenario. Where the environment has MESSAGING_REPORT, the name of
// an absolute folder, the report is saved into it, see [Report.Save].
func Queue(t *testing.T, newTarget func() *Target, o *Options) {
	judged(t, ForQueue, newTarget, o)
}

// Stream judges a stream, as Queue does a queue.
func Stream(t *testing.T, newTarget func() *Target, o *Options) {
	judged(t, ForStream, newTarget, o)
}

func judged(t *testing.T, f Flavour, newTarget func() *Target, o *Options) {
	report, err := Run(t.Context(), f, newTarget, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("conformance: %s, seed %d", report.Target, report.Seed)
	if o != nil && o.Reports != nil {
		o.Reports(report)
	}
	if dir := os.Getenv("MESSAGING_REPORT"); dir != "" {
		if err := report.Save(dir); err != nil {
			t.Error(err)
		}
	}
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
			fmt.Fprintf(&b, "… and %d more\n", c.Evidence["violations"]-i)
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
//
// It does not need a test: a program may call it, for a virtual target too.
func Run(ctx context.Context, f Flavour, newTarget func() *Target, o *Options) (*Report, error) {
	s, err := newSuite(f, newTarget, o)
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	for _, sc := range scenarios() {
		if s.wants(sc) && s.options.chosen(sc) {
			s.run(ctx, sc)
		}
	}
	return s.report(s.first.Name, s.options.Seed), nil
}

// suite is one call of Run.
type suite struct {
	*judge
	newTarget func() *Target
	options   Options
	first     *Target // for its claims
	spare     []Event // the array of the last history, which nobody has kept
}

// run runs one scenario and judges its history.
func (s *suite) run(ctx context.Context, sc *scenario) {
	if sc.needs != nil {
		if why := sc.needs(s.first); why != "" {
			s.without(sc, NotApplicable, why)
			return
		}
	}
	if ctx.Err() != nil {
		s.without(sc, Inconclusive, "it was not run: "+context.Cause(ctx).Error())
		return
	}
	h := s.record(ctx, sc)
	if s.options.Histories != nil {
		s.options.Histories(h)
	}
	s.add(sc, h)
	if s.options.Histories == nil {
		// Arrays that grow were half of the suite's time under the race
		// detector, which keeps a shadow of each.
		s.spare, h.Events = h.Events, nil
		clear(s.spare)
	}
}
