package conformance

// streamRules are S01 to S18, but those that judge Consume.
func streamRules() []*Rule { return nil }
