package conformance

// lifecycleScenarios are the runs for lifecycleRules.
func lifecycleScenarios() []*scenario { return nil }
