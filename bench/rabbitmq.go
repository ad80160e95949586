package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/rabbitmq"
)

// rabbitURL names the broker of the cases on RabbitMQ. Without it there are
// none.
const rabbitURL = "MESSAGING_RABBITMQ_URL"

const (
	confirmWindow = 1000 // of the hand-written loop
	inBatch       = 500
	prefetch      = 256 // of everybody who consumes
	handlers      = 16
)

// rabbitCases publish to a queue, confirmed, mandatory and persistent, and
// consume from one with acknowledgement, beside amqp091 as one writes it by
// hand and Watermill. Everybody's messages have an id of 26 bytes.
func rabbitCases() []group {
	broker := os.Getenv(rabbitURL)
	if broker == "" {
		return nil
	}
	var groups []group
	for _, kind := range []string{amqp.QueueTypeQuorum, amqp.QueueTypeClassic} {
		for _, size := range []int{128, 1024} {
			r := rabbit{broker, kind}
			at := fmt.Sprintf("rabbitmq/%s/%dB/", kind, size)
			raw, peer, plainPeer := "window of 1000", "watermill, pool of 64", "watermill"
			publish := group{work: work{Size: size, Producers: 1}, contenders: []contender{
				r.publish(raw, 20_000, r.rawWindow), r.publish(peer, 6000, r.watermill(pooled)), r.publish(plainPeer, 2000, r.watermill(0)),
			}}
			for _, o := range []struct {
				name           string
				callers, batch int
			}{{"64 callers", 64, 1}, {"1000 callers", 1000, 1}, {"batches of 500", 1, inBatch}} {
				publish.contenders = append(publish.contenders, r.publish(o.name, 20_000, r.ours(o.callers, o.batch)))
				publish.rows = append(publish.rows,
					row{at + "publish/" + o.name, o.name, []string{raw}, rate, target{atLeast: 1}},
					row{at + "publish/" + o.name + "/peer", o.name, []string{plainPeer}, rate, target{atLeast: 5}},
					row{at + "publish/" + o.name + "/pooled peer", o.name, []string{peer}, rate, target{}})
			}
			single := group{work: publish.work, contenders: []contender{
				r.publish("raw", 1500, r.rawSync), r.publish("one by one", 1500, r.ours(1, 1)),
			}, rows: []row{{at + "publish/one by one", "one by one", []string{"raw"}, rate, target{atLeast: 0.95}}}}
			consume := group{work: publish.work, contenders: []contender{
				r.consume("raw", 20_000, r.rawConsume), r.consume("Consume", 20_000, r.oursConsume),
			}, rows: []row{{at + "consume", "Consume", []string{"raw"}, rate, target{atLeast: 1.5}}}}
			groups = append(groups, publish, single, consume)
		}
	}
	return groups
}

// rabbit is a broker and a type of queue.
type rabbit struct{ broker, kind string }

// publish is a contender that publishes w.Messages to a queue. f sets up what
// it needs and calls m.start.
func (r rabbit) publish(name string, messages int, f func(ctx context.Context, queue string, w work, m *meter) error) contender {
	c := one(name, func(ctx context.Context, w work, m *meter) error {
		return r.with(func(ch *amqp.Channel, queue string) error {
			if err := f(ctx, queue, w, m); err != nil {
				return err
			}
			state, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
			if err == nil && state.Messages != w.Messages && r.kind == amqp.QueueTypeClassic { // a quorum queue's number is late
				err = fmt.Errorf("%d messages are in the queue, not %d", state.Messages, w.Messages)
			}
			return err
		})
	})
	c.messages = messages
	return c
}

// consume is a contender that consumes w.Messages from a queue.
func (r rabbit) consume(name string, messages int, f func(ctx context.Context, queue string, w work, m *meter) error) contender {
	c := one(name, func(ctx context.Context, w work, m *meter) error {
		return r.with(func(ch *amqp.Channel, queue string) error {
			var set meter
			if err := r.rawWindow(ctx, queue, w, &set); err != nil {
				return err
			}
			return f(ctx, queue, w, m)
		})
	})
	c.messages = messages
	return c
}

// with calls f with a new queue, and deletes it.
func (r rabbit) with(f func(ch *amqp.Channel, queue string) error) error {
	conn, err := amqp.Dial(r.broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	queue := "bench-" + messaging.NewID()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: r.kind}); err != nil {
		return err
	}
	err = f(ch, queue)
	_, deleted := ch.QueueDelete(queue, false, false, false)
	return errors.Join(err, deleted)
}

// confirming opens a channel of the bare client that confirms.
func (r rabbit) confirming() (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.Dial(r.broker)
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	return conn, ch, err
}

func publishing(body []byte) amqp.Publishing {
	return amqp.Publishing{MessageId: messaging.NewID(), DeliveryMode: amqp.Persistent, Body: body}
}

// rawWindow is the loop that one writes by hand: it publishes as long as no
// more than a window waits for confirms.
func (r rabbit) rawWindow(_ context.Context, queue string, w work, m *meter) error {
	conn, ch, err := r.confirming()
	if err != nil {
		return err
	}
	defer conn.Close()
	body := w.body()
	window := make(chan *amqp.DeferredConfirmation, confirmWindow)
	var bad atomic.Int64
	var wg sync.WaitGroup
	m.start()
	wg.Go(func() {
		for c := range window {
			if !c.Wait() {
				bad.Add(1)
			}
		}
	})
	for range w.Messages {
		c, err := ch.PublishWithDeferredConfirm("", queue, true, false, publishing(body))
		if err != nil {
			close(window)
			return err
		}
		window <- c
	}
	close(window)
	wg.Wait()
	m.stop(w.Messages)
	if bad.Load() > 0 {
		return errors.New("not everything was confirmed")
	}
	return nil
}

// rawSync waits for each confirm.
func (r rabbit) rawSync(_ context.Context, queue string, w work, m *meter) error {
	conn, ch, err := r.confirming()
	if err != nil {
		return err
	}
	defer conn.Close()
	body := w.body()
	m.start()
	for range w.Messages {
		c, err := ch.PublishWithDeferredConfirm("", queue, true, false, publishing(body))
		if err != nil {
			return err
		}
		if !c.Wait() {
			return errors.New("it was not confirmed")
		}
	}
	m.stop(w.Messages)
	return nil
}

// pooled is how many callers Watermill has, and how many channels its pool.
const pooled = 64

// watermill publishes with 64 callers and a pool of so many channels; 0, its
// default, is none.
func (r rabbit) watermill(pool int) func(context.Context, string, work, *meter) error {
	return func(_ context.Context, queue string, w work, m *meter) error {
		config := wamqp.NewDurableQueueConfig(r.broker)
		config.Publish.ConfirmDelivery, config.Publish.ChannelPoolSize, config.Publish.Mandatory = true, pool, true
		config.TopologyBuilder = declared{}
		return publishWatermill(config, queue, w, m)
	}
}

func publishWatermill(config wamqp.Config, queue string, w work, m *meter) error {
	p, err := wamqp.NewPublisher(config, watermill.NopLogger{})
	if err != nil {
		return err
	}
	defer p.Close()
	body := w.body()
	m.start()
	err = share(w.Messages, pooled, func(n int) error {
		for range n {
			if err := p.Publish(queue, message.NewMessage(messaging.NewID(), body)); err != nil {
				return err
			}
		}
		return nil
	})
	m.stop(w.Messages)
	return err
}

// declared is a topology that is there.
type declared struct{}

func (declared) BuildTopology(*amqp.Channel, wamqp.BuildTopologyParams, wamqp.Config, watermill.LoggerAdapter) error {
	return nil
}

func (declared) ExchangeDeclare(*amqp.Channel, string, wamqp.Config) error { return nil }

// ours publishes with so many callers, so many messages a call.
func (r rabbit) ours(callers, batch int) func(context.Context, string, work, *meter) error {
	return func(ctx context.Context, queue string, w work, m *meter) error {
		p, err := messaging.Backends{"amqp": &rabbitmq.Backend{}}.OpenPublisher(ctx, r.broker+"?queue="+queue)
		if err != nil {
			return err
		}
		body := w.body()
		m.start()
		err = share(w.Messages, callers, func(n int) error {
			msgs := make([]messaging.Message, batch)
			for i := range msgs {
				msgs[i].Body = body
			}
			for ; n > 0; n -= batch {
				if err := p.Publish(ctx, msgs[:min(n, batch)]...); err != nil {
					return err
				}
			}
			return nil
		})
		m.stop(w.Messages)
		return errors.Join(err, p.Close())
	}
}

// share has so many callers do n things together.
func share(n, callers int, f func(n int) error) error {
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		part := n/callers + min(1, max(0, n%callers-i))
		wg.Go(func() { errs[i] = f(part) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// rawConsume acknowledges each message, as one writes it by hand.
func (r rabbit) rawConsume(_ context.Context, queue string, w work, m *meter) error {
	conn, err := amqp.Dial(r.broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Qos(prefetch, 0, false)
	}
	if err != nil {
		return err
	}
	m.start()
	ds, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for n := 0; n < w.Messages; n++ {
		d, ok := <-ds
		if !ok || len(d.Body) != w.Size {
			return errors.New("something else came")
		}
		if err := d.Ack(false); err != nil {
			return err
		}
	}
	m.stop(w.Messages)
	return nil
}

// oursConsume is Consume.
func (r rabbit) oursConsume(ctx context.Context, queue string, w work, m *meter) error {
	s, err := messaging.Backends{"amqp": &rabbitmq.Backend{Inflight: prefetch}}.OpenQueue(ctx, r.broker+"?type="+r.kind+"&queue="+queue)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handled atomic.Int64
	m.start()
	err = messaging.Consume(ctx, s, func(_ context.Context, d *messaging.Delivery) error {
		if handled.Add(1) == int64(w.Messages) {
			cancel()
		}
		return nil
	}, &messaging.ConsumeOptions{Concurrency: handlers})
	m.stop(w.Messages)
	return errors.Join(err, s.Close())
}
