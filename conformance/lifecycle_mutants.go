package conformance

// lifecycleMutants break the rules of lifecycleRules.
func lifecycleMutants() []Mutant { return nil }
