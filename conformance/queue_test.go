package conformance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/conformance"
)

// queueArea are the rules that this file proves.
var queueArea = []string{"Q01", "Q03", "Q04", "Q05", "Q06", "Q07", "Q08", "Q09", "Q10", "Q11", "Q12", "Q15", "Q16", "Q17", "Q18", "Q19"}

// TestQueueRulesHonest: memory keeps all of them, with seeds that find the same
// every time.
func TestQueueRulesHonest(t *testing.T) {
	for seed := uint64(1); seed <= uint64(*seeds); seed++ {
		began := time.Now()
		report, err := conformance.Run(t.Context(), conformance.ForQueue, newMemory, &conformance.Options{Seed: seed, Rules: queueArea})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: %v", seed, time.Since(began))
		for _, c := range report.Cells {
			if c.Verdict != conformance.Held && c.Verdict != conformance.NotApplicable { // memory is on no network
				t.Errorf("seed %d: %s under %s: %s: %s", seed, c.Rule, c.Fault, c.Verdict, strings.Join(c.Reasons, "; "))
			}
			for _, v := range c.Violations[:min(2, len(c.Violations))] {
				t.Errorf("%s\n    %s", v.Text, strings.Join(v.Excerpt, "\n    "))
			}
			if seed == 1 {
				t.Logf("%s %-4s %v", c.Rule, c.Fault, c.Evidence)
			}
		}
	}
}

// TestQueueMutants: each mutant is caught by the rule that it breaks.
func TestQueueMutants(t *testing.T) {
	var table strings.Builder
	for _, m := range conformance.Mutants() {
		if m.Target == nil || !slices.Contains(queueArea, m.Breaks) {
			continue
		}
		began := time.Now()
		report, err := conformance.Run(t.Context(), conformance.ForQueue, mutated(m), &conformance.Options{Rules: []string{m.Breaks}, Consume: m.Consume})
		if err != nil {
			t.Fatal(err)
		}
		verdict, text := report.Row(m.Breaks), ""
		for _, c := range report.Cells {
			if len(c.Violations) > 0 {
				text = c.Fault + ": " + c.Violations[0].Text
				break
			}
		}
		fmt.Fprintf(&table, "%-4s %-36s %-12s %4dms %s\n", m.Breaks, m.Name, verdict, time.Since(began).Milliseconds(), text)
		if verdict != conformance.Violated {
			t.Errorf("%s is not caught by %s: %s, seed %d", m.Name, m.Breaks, verdict, report.Seed)
		}
	}
	t.Log("\n" + table.String())
}
