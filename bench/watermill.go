package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

const watermillTopic = "bench"

// documented is Watermill's GoChannel as its guide shows it: the zero Config,
// and a UUID for each message, as ours have an id.
func documented(name string) contender {
	return contender{name: name, variants: []variant{{"zero Config, with UUIDs", func(ctx context.Context, w work, m *meter) error {
		return moveWatermill(ctx, w, m, gochannel.Config{}, watermill.NewUUID, 0, 1)
	}}}}
}

// noID gives a message no UUID.
func noID() string { return "" }

// fastWatermill is Watermill's GoChannel. Consumers compete by ranging over one
// subscription's channel. Its messages are given no UUID, which its
// documentation allows and which spares it the making of one; ours get an id.
// It keeps the body and hands it on, so each message has one of its own: ours
// leave the publisher its buffer and give the consumer another.
func fastWatermill(name string, batch int) contender {
	c := contender{name: name}
	for _, o := range []struct {
		name   string
		config gochannel.Config
		ahead  int
	}{
		{"buffer 0", gochannel.Config{}, 0},
		{"buffer 1024", gochannel.Config{OutputChannelBuffer: 1024}, 0},
		{"buffer 1024, context kept", gochannel.Config{OutputChannelBuffer: 1024, PreserveContext: true}, 0},
		{"buffer 1024, context kept, 1024 ahead", gochannel.Config{OutputChannelBuffer: 1024, PreserveContext: true}, ahead},
		{"buffer 65536, context kept", gochannel.Config{OutputChannelBuffer: 65536, PreserveContext: true}, 0},
		{"buffer 1024, context kept, publish waits for ack", gochannel.Config{OutputChannelBuffer: 1024, PreserveContext: true, BlockPublishUntilSubscriberAck: true}, 0},
	} {
		c.variants = append(c.variants, variant{o.name, func(ctx context.Context, w work, m *meter) error {
			return moveWatermill(ctx, w, m, o.config, noID, o.ahead, batch)
		}})
	}
	return c
}

func moveWatermill(ctx context.Context, w work, m *meter, config gochannel.Config, id func() string, ahead, batch int) error {
	ch := gochannel.NewGoChannel(config, nil)
	defer ch.Close()
	messages, err := ch.Subscribe(context.WithoutCancel(ctx), watermillTopic)
	if err != nil {
		return err
	}
	body := w.body()
	return w.move(ctx, m, flow{
		ahead: ahead,
		publish: func(ctx context.Context, _, n int, t *tally) error {
			for n > 0 {
				msgs := make([]*message.Message, min(n, batch))
				for i := range msgs {
					msgs[i] = message.NewMessage(id(), bytes.Clone(body))
				}
				n -= len(msgs)
				if err := t.send(ctx, len(msgs)); err != nil {
					return err
				}
				if err := ch.Publish(watermillTopic, msgs...); err != nil {
					return err
				}
			}
			return nil
		},
		consume: func(ctx context.Context, _ int, t *tally) error {
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case msg := <-messages:
					if len(msg.Payload) != len(body) {
						return fmt.Errorf("a body of %d bytes came", len(msg.Payload))
					}
					msg.Ack()
					t.add(1)
				}
			}
		},
	})
}
