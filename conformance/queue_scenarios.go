package conformance

// queueScenarios are the runs for queueRules.
func queueScenarios() []*scenario { return nil }
