package conformance

import (
	"strings"
	"testing"
	"time"
)

// TestFind judges a history by rules made for it.
func TestFind(t *testing.T) {
	seen := func(_ *View, f *Finding) { f.count("seen", 1) }
	accuses := func(_ *View, f *Finding) {
		for range 50 {
			f.violate([]int{3, -1, 1 << 30}, "bad")
		}
	}
	for name, c := range map[string]struct {
		rule   Rule
		change func(*History)
		claims Claims
		want   Verdict
		reason string
	}{
		"held":             {rule: Rule{check: seen}, want: Held},
		"slept":            {rule: Rule{check: seen, Timed: true}, change: func(h *History) { h.Stalled = 2 * time.Second }, want: Inconclusive, reason: "did not run"},
		"slept a little":   {rule: Rule{check: seen, Timed: true}, change: func(h *History) { h.Stalled = time.Millisecond }, want: Held},
		"slept, not timed": {rule: Rule{check: seen}, change: func(h *History) { h.Stalled = time.Hour }, want: Held},
		"check panics":     {rule: Rule{check: func(*View, *Finding) { panic("a bug") }}, want: Inconclusive, reason: "a bug"},
		"accuses":          {rule: Rule{check: accuses}, want: Violated},
		"best effort":      {rule: Rule{check: accuses, BestEffort: true, Cells: map[string]Evidence{"none": {}}}, want: Held, reason: "broken 50 times"},
		"not claimed":      {rule: Rule{check: accuses}, claims: Claims{Unclaimed: map[string]string{"X": "we do not"}}, want: NotClaimed, reason: "broken 50 times"},
		"too little":       {rule: Rule{check: seen, Cells: map[string]Evidence{"none": {"seen": 2}}}, want: Inconclusive, reason: "needs 2"},
	} {
		h := generated(50)
		if c.change != nil {
			c.change(h)
		}
		c.rule.ID, c.rule.Flavour = "X", ForQueue
		j := newJudge(ForQueue, c.claims)
		j.rules["X"] = &c.rule
		j.add(&scenario{name: "s", flavour: ForQueue, fault: "none", rules: []string{"X"}}, h)
		cell := j.cells["X none"]
		j.close(cell)
		if reasons := strings.Join(cell.Reasons, "; "); cell.Verdict != c.want || !strings.Contains(reasons, c.reason) {
			t.Errorf("%s: the verdict is %q (%s), want %q with %q", name, cell.Verdict, reasons, c.want, c.reason)
		}
		if len(cell.Violations) > most {
			t.Errorf("%s: %d violations are kept", name, len(cell.Violations))
		}
	}
}
