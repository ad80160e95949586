package conformance

// lifecycleRules are L01 to L10, but those that judge Consume.
func lifecycleRules() []*Rule { return nil }
