package conformance_test

import (
	"testing"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance"
)

// newToy is how a backend's author has it judged: where its channels are, what
// it does not promise and why, and how one of its subscribers is killed.
func newToy() *conformance.Target {
	return &conformance.Target{
		Name:    "toy",
		Backend: &toyBroker{},
		URL:     func(channel string) string { return "toy://" + channel },
		Virtual: true, // it waits for nothing but channels and timers
		Unclaimed: map[string]string{
			"Q06": "a connection that is gone gives back at once, so that there are no leases",
			"S14": "it promises no order",
		},
		Hooks: conformance.Hooks{
			Crash: func(s messaging.Subscriber) error { return s.(*toySubscriber).end(true) },
		},
	}
}

func TestToy(t *testing.T) { conformance.Queue(t, newToy, &conformance.Options{Seed: 1}) }
