package conformance

// consumeMutants break the rules of consumeRules.
func consumeMutants() []Mutant { return nil }
