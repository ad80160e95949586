package conformance

// queueRules are Q01 to Q19, but those that judge Consume.
func queueRules() []*Rule { return nil }
