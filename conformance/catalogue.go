package conformance

import (
	"maps"
	"slices"
	"strings"
)

// catalogue returns all rules, by id. It is made anew each time: nothing here
// is shared or global.
func catalogue() []*Rule { return rulesOf(ForBoth) }

// parts returns the rules as the areas have them: one a layer.
func parts() []*Rule {
	return slices.Concat(
		publishRules(),
		queueRules(),
		streamRules(),
		consumeRules(),
		lifecycleRules(),
		stormRules(),
		wireRules(),
	)
}

// merged joins rules with one id, of which each part is judged where it
// belongs: one at a backend, one at Consume. The first one's texts stay; both
// check, and a cell needs the evidence of both.
func merged(rules []*Rule) []*Rule {
	byID := map[string]*Rule{}
	var out []*Rule
	for _, r := range rules {
		first := byID[r.ID]
		if first == nil {
			byID[r.ID] = r
			out = append(out, r)
			continue
		}
		first.Flavour |= r.Flavour
		for fault, needs := range r.Cells {
			if first.Cells[fault] == nil {
				first.Cells[fault] = Evidence{}
			}
			maps.Copy(first.Cells[fault], needs)
		}
		one, other := first.check, r.check
		first.check = func(v *View, f *Finding) { one(v, f); other(v, f) }
	}
	slices.SortStableFunc(out, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// scenarios returns all scenarios, in the order in which they run.
func scenarios() []*scenario {
	return slices.Concat(
		publishScenarios(),
		queueScenarios(),
		streamScenarios(),
		consumeScenarios(),
		lifecycleScenarios(),
		stormScenarios(),
		wireScenarios(),
	)
}

// rulesOf returns the rules of a flavour, of which each part is one that the
// flavour has.
func rulesOf(f Flavour) []*Rule {
	return merged(slices.DeleteFunc(parts(), func(r *Rule) bool { return r.Flavour&f == 0 }))
}

// ruleOf returns the rule with an id, or nil.
func ruleOf(id string) *Rule {
	for _, r := range catalogue() {
		if r.ID == id {
			return r
		}
	}
	return nil
}
