package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Claims are what a target promises, and how much has to be seen before a
// promise counts as held. The zero value is everything, judged in full.
type Claims struct {
	// Unclaimed are the rules that are not promised, see [Target].
	Unclaimed map[string]string

	// Deviations are the rules that an emulator breaks, see [Target].
	Deviations map[string]string

	// Rules are the ids of the rules to judge by, and only those. Nil is all.
	Rules []string

	// Most is the most evidence that a cell needs, see [Options].
	Most int
}

// Check judges histories that were recorded by [Run], and perhaps saved and
// read since, as Run does: all that concern one target and one flavour. It is
// pure, and takes time in proportion to the histories. A history that
// contradicts itself, or is of a scenario that there is not, is an error.
func Check(c Claims, hs ...*History) (*Report, error) {
	if len(hs) == 0 {
		return nil, errors.New("conformance: check: no history")
	}
	j := newJudge(hs[0].Flavour, c)
	if err := c.check(hs[0].Flavour); err != nil {
		return nil, fmt.Errorf("conformance: check: %w", err)
	}
	for _, h := range hs {
		sc := scenarioOf(h)
		switch err := h.validate(); {
		case err != nil:
			return nil, fmt.Errorf("conformance: check: history of %s: %w", h.Scenario, err)
		case sc == nil:
			return nil, fmt.Errorf("conformance: check: no scenario of this version is %q under %s", h.Scenario, h.Fault)
		case h.Target != hs[0].Target || h.Flavour != hs[0].Flavour:
			return nil, fmt.Errorf("conformance: check: histories of %q and of %q, or of queues and of streams: check them apart", hs[0].Target, h.Target)
		}
		j.add(sc, h)
	}
	return j.report(hs[0].Target, 0), nil
}

// scenarioOf returns the scenario that h is a history of, or nil.
func scenarioOf(h *History) *scenario {
	for _, sc := range scenarios() {
		if sc.name == h.Scenario && sc.fault == h.Fault && sc.flavour&h.Flavour != 0 {
			return sc
		}
	}
	return nil
}

// check says what is wrong with claims about a flavour.
func (c *Claims) check(f Flavour) error {
	if f != ForQueue && f != ForStream {
		return errors.New("the flavour is neither ForQueue nor ForStream")
	}
	for id, reason := range c.Unclaimed {
		switch rule := ruleOf(id); {
		case rule == nil:
			return fmt.Errorf("%q is left unclaimed, which is no rule", id)
		case rule.Core:
			return fmt.Errorf("%s is left unclaimed, which is a core rule", id)
		case strings.TrimSpace(reason) == "":
			return fmt.Errorf("%s is left unclaimed without a reason", id)
		}
	}
	for id, reason := range c.Deviations {
		switch {
		case ruleOf(id) == nil:
			return fmt.Errorf("a deviation from %q, which is no rule", id)
		case strings.TrimSpace(reason) == "":
			return fmt.Errorf("a deviation from %s without a reason", id)
		}
	}
	for _, id := range c.Rules {
		if rule := ruleOf(id); rule == nil || rule.Flavour&f == 0 {
			return fmt.Errorf("Rules has %q, which is no rule of this flavour", id)
		}
	}
	if c.Most < 0 {
		return fmt.Errorf("negative Most %d", c.Most)
	}
	return nil
}

// judge gathers what the rules find in histories.
type judge struct {
	flavour Flavour
	claims  Claims
	rules   map[string]*Rule
	cells   map[string]*Cell // by rule and fault
	partly  bool             // not all scenarios are run: rules without any are left out
}

func newJudge(f Flavour, c Claims) *judge {
	j := &judge{flavour: f, claims: c, rules: map[string]*Rule{}, cells: map[string]*Cell{}}
	for _, r := range rulesOf(f) {
		j.rules[r.ID] = r
	}
	return j
}

// wanted says whether a rule is among those that are to be checked.
func (j *judge) wanted(rule string) bool {
	return j.rules[rule] != nil && (len(j.claims.Rules) == 0 || slices.Contains(j.claims.Rules, rule))
}

func (j *judge) wants(sc *scenario) bool {
	return sc.flavour&j.flavour != 0 && slices.ContainsFunc(sc.rules, j.wanted)
}

// each calls f with the cell of each wanted rule of sc.
func (j *judge) each(sc *scenario, f func(*Rule, *Cell)) {
	for _, id := range sc.rules {
		if !j.wanted(id) {
			continue
		}
		rule, key := j.rules[id], id+" "+sc.fault
		if j.cells[key] == nil {
			c := &Cell{Rule: id, Fault: sc.fault, Evidence: Evidence{}, Needs: Evidence{}}
			for name, n := range rule.Cells[sc.fault] {
				if j.claims.Most > 0 {
					n = min(n, j.claims.Most)
				}
				c.Needs[name] = n
			}
			j.cells[key] = c
		}
		f(rule, j.cells[key])
	}
}

// without notes that a scenario was not run.
func (j *judge) without(sc *scenario, v Verdict, why string) {
	j.each(sc, func(_ *Rule, c *Cell) {
		c.Verdict = worseOr(c.Verdict, v)
		c.Reasons = append(c.Reasons, sc.name+": "+why)
	})
}

// add judges a history.
func (j *judge) add(sc *scenario, h *History) {
	view := newView(h)
	j.each(sc, func(rule *Rule, c *Cell) { c.add(h, find(rule, view)) })
}

func worseOr(a, b Verdict) Verdict {
	if a == "" {
		return b
	}
	return worse(a, b)
}

// find judges a history by a rule.
func find(rule *Rule, v *View) *Finding {
	f := &Finding{}
	switch {
	case v.Overflow:
		f.unsure("%s: events are missing from its history: it has more than Options.Events", v.Scenario)
		return f
	case v.FailureCode == Hung || v.FailureCode == Panicked || v.FailureCode == Nonsense:
		// A broker that hangs or panics keeps none of its promises.
		f.violate(v.unended(), "%s did not come to its end: %s", v.Scenario, v.Failure)
	case v.Failure != "":
		f.unsure("%s did not come to its end: %s", v.Scenario, v.Failure)
	}
	if limit := v.shortest() / 4; rule.Timed && v.Stalled > limit && v.Scenario != stormName {
		f.unsure("%s: this process did not run for %v, so what took over %v may be its own doing: try again on a machine with less to do", v.Scenario, v.Stalled, limit)
	}
	if err := guarded(func() error { rule.check(v, f); return nil }); err != nil {
		f.unsure("%s: the check of %s: %v", v.Scenario, rule.ID, err)
	}
	return f
}

// shortest is the time to which timing is compared: the shortest lease or,
// without leases, how long a redelivery may take.
func (h *History) shortest() time.Duration {
	shortest := h.Timing.withDefaults().Redelivery
	for i := range h.Sessions {
		if l := h.Sessions[i].Lease; l > 0 {
			shortest = min(shortest, l)
		}
	}
	return shortest
}

// unended returns the invokes of calls that did not end, the last few of them.
func (v *View) unended() []int {
	var open []int
	for call, invoke := range v.Invokes {
		if invoke >= 0 && len(v.Outcomes[call]) == 0 {
			open = append(open, invoke)
		}
	}
	const few = 8
	return open[max(0, len(open)-few):]
}

// deeply is how many violations of a cell show what surrounds them.
const deeply = 3

// add adds a finding to a cell.
func (c *Cell) add(h *History, f *Finding) {
	for name, n := range f.Evidence {
		c.Evidence[name] += n
	}
	c.Reasons = append(c.Reasons, f.Unsure...)
	if len(f.Unsure) > 0 {
		c.Verdict = worseOr(c.Verdict, Inconclusive)
	}
	for _, bad := range f.Violations {
		c.Verdict = Violated
		if len(c.Violations) < most {
			c.Violations = append(c.Violations, shown(h, bad, len(c.Violations) < deeply))
		}
	}
}

// report closes the cells.
func (j *judge) report(target string, seed uint64) *Report {
	r := &Report{Target: target, Flavour: j.flavour, Seed: seed}
	for _, rule := range rulesOf(j.flavour) {
		if !j.wanted(rule.ID) {
			continue
		}
		var cells []*Cell
		for _, fault := range j.faultsOf(rule) {
			if c := j.cells[rule.ID+" "+fault]; c != nil {
				j.close(c)
				cells = append(cells, c)
			}
		}
		if len(cells) == 0 && j.partly {
			continue
		}
		if len(cells) == 0 {
			cells = []*Cell{{Rule: rule.ID, Fault: "none", Verdict: Inconclusive, Reasons: []string{"no scenario was run for it"}}}
		}
		j.deviate(rule.ID, cells)
		for _, c := range cells {
			r.Cells = append(r.Cells, *c)
		}
	}
	return r
}

// close gives a cell its verdict.
func (j *judge) close(c *Cell) {
	if reason, ok := j.claims.Unclaimed[c.Rule]; ok {
		if c.Verdict != NotApplicable {
			if n := c.Evidence["violations"]; n > 0 {
				reason += fmt.Sprintf(" (broken %d times)", n)
			}
			c.Verdict, c.Reasons = NotClaimed, append([]string{reason}, c.Reasons...)
		}
		return
	}
	if c.Verdict == Violated && j.rules[c.Rule].BestEffort {
		c.Verdict, c.Violations = "", nil
		c.Reasons = append(c.Reasons, fmt.Sprintf("best effort: broken %d times", c.Evidence["violations"]))
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
	slices.Sort(c.Reasons)
}

// deviate excuses what an emulator is known to break, and says so when it
// does no longer.
func (j *judge) deviate(rule string, cells []*Cell) {
	reason, known := j.claims.Deviations[rule]
	if !known {
		return
	}
	seen := slices.ContainsFunc(cells, func(c *Cell) bool { return c.Verdict == Violated })
	for _, c := range cells {
		switch {
		case c.Verdict == Violated:
			c.Verdict, c.Reasons = Deviation, append([]string{reason}, c.Reasons...)
		case !seen && c.Verdict == Held:
			c.Verdict = Inconclusive
			c.Reasons = append(c.Reasons, "its deviation was not observed, take it from the target: "+reason)
		}
	}
}

// faultsOf returns the faults of a rule's cells, "none" first.
func (j *judge) faultsOf(rule *Rule) []string {
	var faults []string
	for _, c := range j.cells {
		if c.Rule == rule.ID {
			faults = append(faults, c.Fault)
		}
	}
	slices.SortFunc(faults, compareFaults)
	return faults
}

// compareFaults orders "none" first, then F1 to F16.
func compareFaults(a, b string) int {
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
}
