package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/batcher"
	"gocloud.dev/pubsub/mempubsub"
)

// cdk is Go CDK's mempubsub. A subscriber that finds nothing sleeps for 250 ms
// before it looks again, so its consumers start when all messages have been
// published, and that happens to none. Bodies are copied as for watermill.
func cdk() contender {
	c := contender{name: "mempubsub"}
	for _, o := range []struct {
		name     string
		handlers int
	}{
		{"1 batch handler", 1},
		{"4 batch handlers", 4},
	} {
		c.variants = append(c.variants, variant{o.name, func(ctx context.Context, w work, m *meter) error {
			return moveCDK(ctx, w, m, batcher.Options{MaxHandlers: o.handlers})
		}})
	}
	return c
}

func moveCDK(ctx context.Context, w work, m *meter, options batcher.Options) error {
	topic, sub, closeAll := openCDK(ctx, options)
	defer closeAll()
	body := w.body()
	started := make(chan struct{})
	published := newTally(w.Messages, func() { close(started) })
	return w.move(ctx, m, flow{
		publish: func(ctx context.Context, _, n int, _ *tally) error {
			for range n {
				if err := topic.Send(ctx, &pubsub.Message{Body: bytes.Clone(body)}); err != nil {
					return err
				}
				published.add(1)
			}
			return nil
		},
		consume: func(ctx context.Context, _ int, t *tally) error {
			select {
			case <-started:
			case <-ctx.Done():
				return ctx.Err()
			}
			for {
				msg, err := sub.Receive(ctx)
				if err != nil {
					return err
				}
				if len(msg.Body) != len(body) {
					return fmt.Errorf("a body of %d bytes came", len(msg.Body))
				}
				msg.Ack()
				t.add(1)
			}
		},
	})
}

func openCDK(ctx context.Context, options batcher.Options) (*pubsub.Topic, *pubsub.Subscription, func()) {
	topic := mempubsub.NewTopicWithOptions(&mempubsub.TopicOptions{BatcherOptions: options})
	sub := mempubsub.NewSubscriptionWithOptions(topic, time.Minute, &mempubsub.SubscriptionOptions{AckBatcherOptions: options})
	return topic, sub, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = sub.Shutdown(ctx)
		_ = topic.Shutdown(ctx)
	}
}
