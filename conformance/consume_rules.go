package conformance

// consumeRules are the rules that judge messaging.Consume: Q02, Q13, Q14, S06, S14, S15, S17, L03, L04.
func consumeRules() []*Rule { return nil }
