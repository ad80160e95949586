package conformance

import (
	"fmt"
	"slices"
)

// Rule is one sentence of the contract and how a history is judged by it.
type Rule struct {
	ID         string // stable, such as "P01"
	Name       string // such as "AckedNotLost"
	Sentence   string // what must be true, as the contract says it
	Flavour    Flavour
	Core       bool // it cannot be left unclaimed
	BestEffort bool // it reports a rate and does not fail
	Timed      bool // it compares times: a process that did not run makes it inconclusive

	// Cells are the faults under which it is judged, with the evidence that
	// held needs there, by name. On real brokers thresholds above Options.Most
	// are cut to that.
	Cells map[string]Evidence

	// check looks for violations, and counts evidence, in one history. It is
	// pure, and linear in the history.
	check func(*View, *Finding)
}

// Evidence counts what a verdict rests on, by name, such as "acknowledged".
type Evidence map[string]int

// Verdict is the outcome of a rule.
type Verdict string

// The order is from the best to the worst; a row of the report shows the
// worst of its cells.
const (
	NotApplicable Verdict = "not applicable" // says nothing: a row that has another cell shows that
	Held          Verdict = "held"
	NotClaimed    Verdict = "not claimed"
	Deviation     Verdict = "emulator deviation" // known, and observed
	Inconclusive  Verdict = "inconclusive"
	Violated      Verdict = "violated"
)

func verdicts() []Verdict {
	return []Verdict{NotApplicable, Held, NotClaimed, Deviation, Inconclusive, Violated}
}

// worse returns the worse of two verdicts.
func worse(a, b Verdict) Verdict {
	if slices.Index(verdicts(), a) > slices.Index(verdicts(), b) {
		return a
	}
	return b
}

// Finding is what a rule's check found in one history.
type Finding struct {
	Violations []Violation
	Evidence   Evidence
	Unsure     []string // why the history cannot show it, if it cannot
}

// Violation is one break of a rule.
type Violation struct {
	Text   string
	Events []int // indices in the history, which show it
}

// most is how many violations a finding keeps; the others are counted.
const most = 20

// violate records a violation, with the events that show it.
func (f *Finding) violate(events []int, format string, args ...any) {
	if len(f.Violations) < most {
		f.Violations = append(f.Violations, Violation{fmt.Sprintf(format, args...), events})
	}
	f.count("violations", 1)
}

// count adds evidence.
func (f *Finding) count(name string, n int) {
	if f.Evidence == nil {
		f.Evidence = Evidence{}
	}
	f.Evidence[name] += n
}

// unsure says why the history cannot show it.
func (f *Finding) unsure(format string, args ...any) {
	f.Unsure = append(f.Unsure, fmt.Sprintf(format, args...))
}
