package main

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// gocloud.dev v0.47.0 leaves a batch that nobody receives any more in a
	// channel's send.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gocloud.dev/pubsub.(*Subscription).Receive.func2"))
}
