package conformance_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/conformance"
)

var (
	seeds  = flag.Int("seeds", 0, "with how many seeds the honest and the odd targets are judged; 0 is three for memory, and one of them for each that is odd")
	matrix = flag.Bool("matrix", false, "judge each mutant by all rules, and print which others kill it")
)

// flavours are those of f.
func flavours(f conformance.Flavour) []conformance.Flavour {
	return slices.DeleteFunc([]conformance.Flavour{conformance.ForQueue, conformance.ForStream}, func(one conformance.Flavour) bool { return one&f == 0 })
}

// lines gathers a table from subtests that run at once.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, fmt.Sprintf(format, args...))
}

func (l *lines) table() string {
	slices.Sort(l.text)
	return strings.Join(l.text, "\n")
}

// TestMutants proves the suite: each mutant is killed by the rule that is
// meant for it.
func TestMutants(t *testing.T) {
	var kills kills
	start := time.Now()
	t.Run("killed", func(t *testing.T) {
		for _, m := range conformance.Mutants() {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				for _, f := range flavours(m.Flavour) {
					kill(t, m, f, &kills)
				}
			})
		}
	})
	if *matrix && *update && !t.Failed() {
		kills.write(t)
	}
	t.Logf("%d mutants in %v\n%s", len(conformance.Mutants()), time.Since(start).Round(time.Millisecond), kills.table())
}

// tries is in how many runs a mutant has to be caught: it breaks something by
// chance, and may miss its chance in one.
const tries = 3

func kill(t *testing.T, m conformance.Mutant, f conformance.Flavour, kills *kills) {
	o := &conformance.Options{Consume: m.Consume, Rules: []string{m.Breaks}}
	if *matrix {
		o.Rules = nil
	}
	start := time.Now()
	var r *conformance.Report
	for o.Seed = 1; o.Seed <= tries; o.Seed++ {
		var err error
		if r, err = conformance.Run(t.Context(), f, mutated(m), o); err != nil {
			t.Fatal(err)
		}
		if r.Row(m.Breaks) == conformance.Violated {
			break
		}
		t.Logf("%s survived seed %d: %s", m.Name, o.Seed, r.Row(m.Breaks))
	}
	if v := r.Row(m.Breaks); v != conformance.Violated {
		t.Errorf("%s (%s) should be killed by %s, which says: %s%s", m.Name, m.About, m.Breaks, v, reasons(r, m.Breaks))
	}
	kills.note(m.Name, m.Breaks)
	var others []string
	for _, rule := range conformance.Rules(f) {
		if rule.ID != m.Breaks && r.Row(rule.ID) == conformance.Violated {
			others = append(others, rule.ID)
			kills.note(m.Name, rule.ID)
		}
	}
	kills.add("%-4s %-6v %-42s %-9s %6.2fs %s", m.Breaks, f, m.Name, r.Row(m.Breaks), time.Since(start).Seconds(), strings.Join(others, " "))
}

// mutated makes the honest target, broken.
func mutated(m conformance.Mutant) func() *conformance.Target {
	return func() *conformance.Target {
		target := newMemory()
		if m.Target != nil {
			m.Target(target)
		}
		return target
	}
}

// reasons are what the cells of a rule say.
func reasons(r *conformance.Report, rule string) string {
	var b strings.Builder
	for _, c := range r.Cells {
		if c.Rule == rule {
			fmt.Fprintf(&b, "\n  %s: %s: counted %v of %v: %s", c.Fault, c.Verdict, c.Evidence, c.Needs, strings.Join(c.Reasons, "; "))
			for _, v := range c.Violations {
				fmt.Fprintf(&b, "\n    %s (%s, seed %d)\n      %s", v.Text, v.Scenario, v.Seed, strings.Join(v.Excerpt, "\n      "))
				break
			}
		}
	}
	return b.String()
}

// TestHonest judges memory, and what is odd and honest, with several seeds. A
// cell that is not held needs a reason that the target gave.
func TestHonest(t *testing.T) {
	honest := conformance.Control{Name: "memory", Flavour: conformance.ForBoth, Target: func(*conformance.Target) {}}
	var times lines
	t.Run("held", func(t *testing.T) {
		for i, c := range append([]conformance.Control{honest}, conformance.Controls()...) {
			for _, f := range flavours(c.Flavour) {
				for _, seed := range seedsOf(i) {
					t.Run(fmt.Sprintf("%s/%v/%d", c.Name, f, seed), func(t *testing.T) {
						t.Parallel()
						start := time.Now()
						exonerate(t, c, f, seed)
						times.add("%-20s %-6v seed %2d %6.2fs", c.Name, f, seed, time.Since(start).Seconds())
					})
				}
			}
		}
	})
	t.Logf("\n%s", times.table())
}

// seedsOf returns the seeds of the ith target: 0 is the honest one.
func seedsOf(i int) []uint64 {
	n := uint64(max(*seeds, 0))
	switch {
	case n > 0:
	case i == 0:
		n = 3
	default:
		return []uint64{uint64(i%3) + 1}
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i) + 1
	}
	return all
}

func exonerate(t *testing.T, c conformance.Control, f conformance.Flavour, seed uint64) {
	odd := func() *conformance.Target {
		target := newMemory()
		c.Target(target)
		return target
	}
	r, err := conformance.Run(t.Context(), f, odd, &conformance.Options{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	claims := odd().Unclaimed
	short := 0
	for _, cell := range r.Cells {
		switch {
		case cell.Verdict == conformance.Inconclusive && c.Name == "memory" && againHeld(t, f, cell.Rule, seed):
		case cell.Verdict == conformance.Inconclusive && c.Name != "memory":
			// An odd target is not to be accused. Evidence it has less.
			short++
			t.Logf("%s is inconclusive under %s%s", cell.Rule, cell.Fault, reasons(r, cell.Rule))
		case cell.Verdict == conformance.Held:
		case cell.Verdict == conformance.NotApplicable:
		case slices.Contains(conformance.HalfReached, cell.Rule) && len(cell.Evidence) == 0:
		case cell.Verdict == conformance.NotClaimed && claims[cell.Rule] != "":
		default:
			t.Errorf("%s is %s under %s%s", cell.Rule, cell.Verdict, cell.Fault, reasons(r, cell.Rule))
		}
	}
	if short > len(r.Cells)/10 {
		t.Errorf("%d of %d cells are inconclusive: that exonerates nobody", short, len(r.Cells))
	}
}

// againHeld runs a rule once more, with another seed: whether enough came
// together to judge by is a matter of chance, too.
func againHeld(t *testing.T, f conformance.Flavour, rule string, seed uint64) bool {
	r, err := conformance.Run(t.Context(), f, newMemory, &conformance.Options{Seed: seed + 1000, Rules: []string{rule}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s was inconclusive, and is %s with another seed", rule, r.Row(rule))
	return r.Row(rule) == conformance.Held
}

// TestCatalogue checks that each rule of the contract exists and has a
// mutant, but those of the lists below.
func TestCatalogue(t *testing.T) {
	var ids []string
	for kind, n := range map[string]int{"P": 12, "Q": 19, "S": 18, "L": 10, "I": 2} {
		for i := range n {
			switch id := fmt.Sprintf("%s%02d", kind, i+1); id {
			case "P08":
				ids = append(ids, "P08a", "P08b")
			default:
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	rules := map[string]bool{}
	for _, r := range conformance.Rules(conformance.ForBoth) {
		if rules[r.ID] || !slices.Contains(ids, r.ID) {
			t.Errorf("%s is there twice, or is no rule of the contract", r.ID)
		}
		rules[r.ID] = true
	}
	compare(t, "rule", ids, rules, missingRules)

	broken, names := map[string]bool{}, map[string]bool{}
	for _, m := range conformance.Mutants() {
		if names[m.Name] || m.About == "" || (m.Target == nil) == (m.Consume == nil) || m.Flavour == 0 {
			t.Errorf("the mutant %q is there twice, or has no About or Flavour, or not one of Target and Consume", m.Name)
		}
		names[m.Name], broken[m.Breaks] = true, true
	}
	compare(t, "mutant", ids, broken, missingMutants)
}

func compare(t *testing.T, what string, ids []string, have map[string]bool, missing []string) {
	for _, id := range ids {
		switch listed := slices.Contains(missing, id); {
		case have[id] && listed:
			t.Errorf("%s has a %s now: take it from the list in missing_test.go", id, what)
		case !have[id] && !listed:
			t.Errorf("%s has no %s", id, what)
		case listed:
			t.Logf("%s has no %s yet", id, what)
		}
	}
	for id := range have {
		if !slices.Contains(ids, id) {
			t.Errorf("there is a %s for %q, which is no rule of the contract", what, id)
		}
	}
}
