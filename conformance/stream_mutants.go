package conformance

// streamMutants break the rules of streamRules.
func streamMutants() []Mutant { return nil }
