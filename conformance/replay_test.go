package conformance_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/conformance"
)

// TestReplay saves the histories of a run, reads them again and judges them:
// the verdicts are the same. Under the race detector, where every byte of JSON
// costs twenty times as much, it is some of the rules.
func TestReplay(t *testing.T) {
	var rules []string
	if conformance.RaceEnabled {
		rules = []string{"P07", "L01", "L03"}
	}
	broken := map[conformance.Flavour]func() *conformance.Target{conformance.ForQueue: newMemory, conformance.ForStream: newMemory}
	for _, m := range conformance.Mutants() {
		if m.Flavour != conformance.ForBoth && m.Target != nil {
			broken[m.Flavour] = mutated(m) // the last of each
		}
	}
	for f, newTarget := range broken {
		dir := t.TempDir()
		var files []string
		save := func(h *conformance.History) {
			name := filepath.Join(dir, fmt.Sprint(len(files), ".jsonl.gz"))
			if err := conformance.SaveHistory(name, h); err != nil {
				t.Fatal(err)
			}
			files = append(files, name)
		}
		want, err := conformance.Run(t.Context(), f, newTarget, &conformance.Options{Seed: 1, Histories: save, Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		var hs []*conformance.History
		for _, name := range files {
			h, err := conformance.LoadHistory(name)
			if err != nil {
				t.Fatal(err)
			}
			hs = append(hs, h)
		}
		got, err := conformance.Check(conformance.Claims{Rules: rules}, hs...)
		if err != nil {
			t.Fatal(err)
		}
		for _, cell := range want.Cells {
			if cell.Verdict == conformance.NotApplicable {
				continue // there is no history of what was not run
			}
			i := slices.IndexFunc(got.Cells, func(c conformance.Cell) bool { return c.Rule == cell.Rule && c.Fault == cell.Fault })
			if i < 0 || !reflect.DeepEqual(got.Cells[i], cell) {
				t.Errorf("%v: %s under %s is judged otherwise from its file: was %s %v", f, cell.Rule, cell.Fault, cell.Verdict, cell.Evidence)
			}
		}
	}
}

// TestChecksAreLinear judges histories that are put together from copies of
// real ones: five times as many may not take much more than five times as
// long.
func TestChecksAreLinear(t *testing.T) {
	if conformance.RaceEnabled {
		t.Skip("times mean nothing under -race: run it without")
	}
	const small, factor = 10_000, 5
	for _, f := range []conformance.Flavour{conformance.ForQueue, conformance.ForStream} {
		var hs []*conformance.History
		keep := func(h *conformance.History) { hs = append(hs, h) }
		if _, err := conformance.Run(t.Context(), f, newMemory, &conformance.Options{Seed: 1, Histories: keep}); err != nil {
			t.Fatal(err)
		}
		for _, h := range hs {
			copies := max(1, small/max(1, len(h.Events)))
			few, many := conformance.RuleTimes(copied(h, copies)), conformance.RuleTimes(copied(h, copies*factor))
			for rule, took := range many {
				// What takes less time is no matter, and may have waited for others.
				if slow := took > time.Second && took > 4*factor*few[rule]; slow {
					t.Errorf("%v, %s: %s took %v for %d events, and %v for %d times as many", f, h.Scenario, rule, few[rule], copies*len(h.Events), took, factor)
				}
			}
		}
	}
}

// copied returns a history of n copies of h, one after the other, by the same
// sessions.
func copied(h *conformance.History, n int) *conformance.History {
	all := *h
	all.Messages, all.Events = nil, nil
	calls, deliveries, leases := 0, 0, 0
	for i := range h.Events {
		e := &h.Events[i]
		calls, deliveries, leases = max(calls, e.Call), max(deliveries, e.Delivery), max(leases, e.Lease)
	}
	shift := func(number *int, by int) {
		if *number > 0 {
			*number += by
		}
	}
	for c := range n {
		for _, e := range h.Events {
			shift(&e.Message, c*len(h.Messages))
			shift(&e.Call, c*calls)
			shift(&e.Delivery, c*deliveries)
			shift(&e.Lease, c*leases)
			e.At += time.Duration(c) * (h.Events[len(h.Events)-1].At + time.Second)
			all.Events = append(all.Events, e)
		}
		for _, m := range h.Messages {
			m.Counter += c * len(h.Messages)
			all.Messages = append(all.Messages, m)
		}
	}
	return &all
}
