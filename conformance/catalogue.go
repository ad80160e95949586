package conformance

import "slices"

// catalogue returns all rules, by id. It is made anew each time: nothing here
// is shared or global.
func catalogue() []*Rule {
	return slices.Concat(
		publishRules(),
		queueRules(),
		streamRules(),
		consumeRules(),
		lifecycleRules(),
	)
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
