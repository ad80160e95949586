package conformance

// streamScenarios are the runs for streamRules.
func streamScenarios() []*scenario { return nil }
