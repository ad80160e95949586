package conformance_test

import (
	"slices"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/conformance"
)

// publishArea are the rules that this file proves.
var publishArea = []string{"P01", "P02", "P03", "P04", "P05", "P06", "P07", "P08a", "P08b", "P09", "P10", "P11", "P12"}

// TestPublishHonest: memory keeps all of them, in both flavours.
func TestPublishHonest(t *testing.T) {
	for _, f := range flavours(conformance.ForBoth) {
		for _, seed := range []uint64{1, 2, 0} {
			began := time.Now()
			report, err := conformance.Run(t.Context(), f, newMemory, &conformance.Options{Seed: seed, Rules: publishArea})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, seed %d: %v", f, report.Seed, time.Since(began).Round(time.Millisecond))
			for _, c := range report.Cells {
				if c.Verdict != conformance.Held && c.Verdict != conformance.NotApplicable { // memory is on no network
					t.Errorf("%s, seed %d: %s is %s under %s%s", f, report.Seed, c.Rule, c.Verdict, c.Fault, reasons(report, c.Rule))
				} else if seed == 1 {
					t.Logf("%s %-4s %v", c.Rule, c.Fault, c.Evidence)
				}
			}
		}
	}
}

// TestPublishMutants: each mutant is caught by the rule that it breaks.
func TestPublishMutants(t *testing.T) {
	var kills lines
	for _, m := range conformance.Mutants() {
		if slices.Contains(publishArea, m.Breaks) {
			for _, f := range flavours(m.Flavour) {
				kill(t, m, f, &kills)
			}
		}
	}
	t.Log("\n" + kills.table())
}
