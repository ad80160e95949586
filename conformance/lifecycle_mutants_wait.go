package conformance

import (
	"context"
	"net/url"
	"time"

	"github.com/fa5182d2/messaging"
)

// Mutants that wait where they should not, or do not where they should.

// slowAfterIdle makes what comes after 40 idle seconds ten seconds late.
func slowAfterIdle() receiver {
	return func(ctx context.Context, max int, receive receiveFunc) ([]*messaging.Delivery, error) {
		start := time.Now()
		ds, err := receive(ctx, max)
		if err == nil && time.Since(start) > 40*time.Second {
			_ = pause(ctx, 10*time.Second)
		}
		return ds, err
	}
}

// publishWaitsItsTurn makes each Publish wait for the one before, whatever its
// context says.
func publishWaitsItsTurn(p messaging.Publisher, _ *url.URL) messaging.Publisher {
	turn := make(chan struct{}, 1)
	return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
		turn <- struct{}{}
		defer func() { <-turn }()
		return p.Publish(ctx, ms...)
	}}
}
