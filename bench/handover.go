package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/fa5182d2/messaging"
)

const (
	handovers = 2000                   // of a run: 20 lie beyond its p99
	pace      = 100 * time.Microsecond // between them, so that each finds its consumer waiting
)

// pipe is a way for bodies from a publisher to a consumer: consume calls got
// with each and acknowledges it, until its context ends.
type pipe struct {
	publish func(ctx context.Context, body []byte) error
	consume func(ctx context.Context, got func(body []byte)) error
	end     func() error
}

// handover is a contender that is timed from before the call that publishes a
// message until a consumer has it.
func handover(name string, open func(ctx context.Context) (pipe, error)) contender {
	c := one(name, func(ctx context.Context, w work, m *meter) error {
		p, err := open(ctx)
		if err != nil {
			return err
		}
		w.Producers, w.Consumers = 1, 1
		clock := stopwatch{began: time.Now(), sent: make([]time.Duration, w.Messages), took: make([]time.Duration, w.Messages)}
		err = w.move(ctx, m, flow{
			publish: func(ctx context.Context, _, n int, _ *tally) error {
				body := w.body()
				for i := range n {
					time.Sleep(pace)
					if err := p.publish(ctx, clock.stamp(body, i)); err != nil {
						return err
					}
				}
				return nil
			},
			consume: func(ctx context.Context, _ int, t *tally) error {
				return p.consume(ctx, func(body []byte) {
					clock.read(body)
					t.add(1)
				})
			},
		})
		m.Latencies = clock.took
		return errors.Join(err, p.end())
	})
	c.messages = handovers
	return c
}

// stopwatch times messages, of which each carries its number.
type stopwatch struct {
	began      time.Time
	sent, took []time.Duration
}

// stamp writes i into the body and starts its time.
func (s *stopwatch) stamp(body []byte, i int) []byte {
	binary.LittleEndian.PutUint64(body, uint64(i))
	s.sent[i] = time.Since(s.began)
	return body
}

// read ends the time of the message that body is of.
func (s *stopwatch) read(body []byte) {
	now := time.Since(s.began)
	i := binary.LittleEndian.Uint64(body)
	s.took[i] = now - s.sent[i]
}

// bareChannel is the measure of hand-over: a copy of the body through a Go
// channel.
func bareChannel(name string, size int) contender {
	return handover(name, func(ctx context.Context) (pipe, error) {
		ch := make(chan []byte, size)
		publish := func(ctx context.Context, body []byte) error {
			select {
			case ch <- bytes.Clone(body):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		consume := func(ctx context.Context, got func([]byte)) error {
			for {
				select {
				case body := <-ch:
					got(body)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return pipe{publish, consume, func() error { return nil }}, nil
	})
}

// handoverOurs receives in a loop, or through Consume.
func handoverOurs(f flavour, name string, through bool) contender {
	return handover(name, func(ctx context.Context) (pipe, error) {
		ch, err := f.open(ctx, layout{subscribers: 1, partitions: 1})
		if err != nil {
			return pipe{}, err
		}
		msgs := make([]messaging.Message, 1)
		publish := func(ctx context.Context, body []byte) error {
			msgs[0].Body = body
			return ch.pub.Publish(ctx, msgs...)
		}
		consume := func(ctx context.Context, got func([]byte)) error {
			return messaging.Consume(ctx, ch.subs[0], func(_ context.Context, d *messaging.Delivery) error {
				got(d.Body)
				return nil
			}, nil)
		}
		if !through {
			settle := settler(ch.subs[0])
			consume = func(ctx context.Context, got func([]byte)) error {
				for {
					ds, err := ch.subs[0].Receive(ctx, received)
					if err != nil {
						return err
					}
					for i, d := range ds {
						got(d.Body)
						// The last one's count ends ctx.
						if err := settle(context.WithoutCancel(ctx), ds[i:i+1]...); err != nil {
							return err
						}
					}
				}
			}
		}
		return pipe{publish, consume, ch.close}, nil
	})
}

// handoverWatermill has no sibling for mempubsub, whose subscribers look every
// 250 ms.
func handoverWatermill() contender {
	return handover("watermill", func(ctx context.Context) (pipe, error) {
		ch := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 1024, PreserveContext: true}, nil)
		messages, err := ch.Subscribe(context.WithoutCancel(ctx), watermillTopic)
		publish := func(_ context.Context, body []byte) error {
			return ch.Publish(watermillTopic, message.NewMessage("", bytes.Clone(body)))
		}
		consume := func(ctx context.Context, got func([]byte)) error {
			for {
				select {
				case msg := <-messages:
					got(msg.Payload)
					msg.Ack()
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return pipe{publish, consume, ch.Close}, err
	})
}
