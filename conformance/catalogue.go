package conformance

import (
	"maps"
	"slices"
	"strings"
)

// catalogue returns all rules, by id. It is made anew each time: nothing here
// is shared or global.
func catalogue() []*Rule {
	return joined(slices.Concat(
		publishRules(),
		queueRules(),
		streamRules(),
		consumeRules(),
		lifecycleRules(),
	))
}

// joined makes one rule of those with one id: some judge a backend and
// Consume over it, by different histories.
func joined(rules []*Rule) []*Rule {
	byID := map[string]*Rule{}
	var all []*Rule
	for _, r := range rules {
		first := byID[r.ID]
		if first == nil {
			byID[r.ID] = r
			all = append(all, r)
			continue
		}
		first.join(r)
	}
	slices.SortStableFunc(all, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (r *Rule) join(o *Rule) {
	r.Sentence += " " + o.Sentence
	r.Flavour |= o.Flavour
	for fault, needs := range o.Cells {
		if r.Cells[fault] == nil {
			r.Cells[fault] = needs
			continue
		}
		maps.Copy(r.Cells[fault], needs)
	}
	one, two := r.check, o.check
	r.check = func(v *View, f *Finding) {
		one(v, f)
		two(v, f)
	}
}

// scenarios returns all scenarios, in the order in which they run.
func scenarios() []*scenario {
	return slices.Concat(
		publishScenarios(),
		queueScenarios(),
		streamScenarios(),
		consumeScenarios(),
		lifecycleScenarios(),
	)
}

// rulesOf returns the rules of a flavour.
func rulesOf(f Flavour) []*Rule {
	return slices.DeleteFunc(catalogue(), func(r *Rule) bool { return r.Flavour&f == 0 })
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
