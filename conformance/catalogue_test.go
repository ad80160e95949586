package conformance

import (
	"slices"
	"testing"
)

// TestScenarios checks that rules and scenarios fit together: each cell has a
// scenario that fills it, and each scenario fills cells.
func TestScenarios(t *testing.T) {
	type key struct {
		flavour Flavour
		name    string
		fault   string
	}
	seen := map[key]bool{}
	filled := map[string]map[string]Flavour{} // by rule and fault
	for _, sc := range scenarios() {
		for _, f := range []Flavour{ForQueue, ForStream} {
			if k := (key{f, sc.name, sc.fault}); sc.flavour&f != 0 {
				if seen[k] {
					t.Errorf("two scenarios are %q under %s for one flavour: a saved history could be of either", sc.name, sc.fault)
				}
				seen[k] = true
			}
		}
		if sc.flavour == 0 || len(sc.rules) == 0 || sc.drive == nil {
			t.Errorf("scenario %q has no flavour, rules or drive", sc.name)
		}
		for _, id := range sc.rules {
			rule := ruleOf(id)
			switch {
			case rule == nil:
				t.Errorf("scenario %q is for %s, which is no rule", sc.name, id)
				continue
			case rule.Flavour&sc.flavour == 0:
				t.Errorf("scenario %q and rule %s are of different flavours", sc.name, id)
			case rule.Cells[sc.fault] == nil:
				t.Errorf("scenario %q is for %s under %s, for which that has no cell", sc.name, id, sc.fault)
			}
			if filled[id] == nil {
				filled[id] = map[string]Flavour{}
			}
			filled[id][sc.fault] |= sc.flavour
		}
	}
	for _, rule := range rulesOf(ForBoth) {
		if rule.Name == "" || rule.Sentence == "" || rule.Flavour == 0 || rule.check == nil {
			t.Errorf("rule %s has no name, sentence, flavour or check", rule.ID)
		}
		var reached Flavour
		for fault, needs := range rule.Cells {
			if filled[rule.ID][fault] == 0 {
				t.Errorf("no scenario is for %s under %s", rule.ID, fault)
			}
			if len(needs) == 0 && !rule.BestEffort {
				t.Errorf("%s needs no evidence under %s", rule.ID, fault)
			}
			reached |= filled[rule.ID][fault]
		}
		switch listed, half := slices.Contains(HalfReached, rule.ID), reached&rule.Flavour != rule.Flavour; {
		case half && !listed:
			t.Errorf("%s is for flavours %b, and its scenarios for %b", rule.ID, rule.Flavour, reached)
		case listed && !half:
			t.Errorf("%s is reached in each of its flavours now: take it from HalfReached", rule.ID)
		}
	}
}

// HalfReached are the rules for both flavours that have scenarios for only
// one of them yet.
var HalfReached []string
