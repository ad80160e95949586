package conformance

// queueMutants break the rules of queueRules.
func queueMutants() []Mutant { return nil }
