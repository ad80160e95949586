package conformance

import "time"

// RuleTimes judges a history by the rules of its scenario and returns how long
// each took, and the making of the view, by "view".
func RuleTimes(h *History) map[string]time.Duration {
	times := map[string]time.Duration{}
	start := time.Now()
	v := newView(h)
	times["view"] = time.Since(start)
	j := newJudge(h.Flavour, Claims{})
	j.each(scenarioOf(h), func(rule *Rule, _ *Cell) {
		start := time.Now()
		find(rule, v)
		times[rule.ID] = time.Since(start)
	})
	return times
}
