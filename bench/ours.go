package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// flavour is a queue or a stream of ours.
type flavour string

const (
	queue  flavour = "queue"
	stream flavour = "stream"
)

// channel is one channel of ours, with one publisher, which producers share.
type channel struct {
	pub  messaging.Publisher
	subs []messaging.Subscriber
}

// layout is how a channel is divided: a queue's subscribers compete for all of
// it, a stream's share its partitions.
type layout struct {
	subscribers, partitions int
	params                  string // more of the URL, from its "&" on
}

// open opens a channel on a broker of its own.
func (f flavour) open(ctx context.Context, l layout) (*channel, error) {
	backends := messaging.Backends{"mem": &memory.Backend{}}
	url := "mem://bench?kind=" + string(f) + l.params
	if f == stream {
		url += "&group=bench&partitions=" + strconv.Itoa(l.partitions)
	}
	pub, err := backends.OpenPublisher(ctx, url)
	if err != nil {
		return nil, err
	}
	ch := &channel{pub: pub}
	for range l.subscribers {
		sub, err := backends.OpenSubscriber(ctx, url)
		if err != nil {
			return nil, errors.Join(err, ch.close())
		}
		ch.subs = append(ch.subs, sub)
	}
	return ch, nil
}

// forLoops is the layout for consumers that call Receive themselves. They
// share a queue's subscriber; a stream has one receiver at a time, so each of
// them has a subscriber and a partition.
func (f flavour) forLoops(consumers int) layout {
	if f == queue {
		return layout{subscribers: 1}
	}
	return layout{subscribers: consumers, partitions: consumers}
}

func (ch *channel) close() error {
	var errs []error
	for _, s := range ch.subs {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, ch.pub.Close())...)
}

// sub is the subscriber of a consumer.
func (ch *channel) sub(consumer int) messaging.Subscriber { return ch.subs[consumer%len(ch.subs)] }

// settler returns what settles deliveries as done, in either flavour.
func settler(s messaging.Subscriber) func(context.Context, ...*messaging.Delivery) error {
	switch s := s.(type) {
	case messaging.QueueSubscriber:
		return s.Ack
	case messaging.StreamSubscriber:
		return s.Commit
	}
	return func(context.Context, ...*messaging.Delivery) error { return errors.ErrUnsupported }
}

// received is how many deliveries one Receive asks for.
const received = 64

// ours publishes batch messages a call, receives in a loop, and settles each
// delivery by a call of its own, or, with a batch above 1, all that one
// Receive returned. Arguments are slices that it has already, as code does
// that counts allocations.
func ours(f flavour, name string, batch int) contender {
	return paced(name, func(ctx context.Context, w work, m *meter, ahead int) error {
		ch, err := f.open(ctx, f.forLoops(w.Consumers))
		if err != nil {
			return err
		}
		settled := 1
		if batch > 1 {
			settled = received
		}
		err = w.move(ctx, m, flow{
			ahead:   ahead,
			publish: ch.publisher(w, batch),
			consume: ch.loop(w, received, settled),
		})
		return errors.Join(err, ch.close())
	})
}

// publisher publishes batch messages a call.
func (ch *channel) publisher(w work, batch int) func(ctx context.Context, producer, n int, t *tally) error {
	body := w.body()
	return func(ctx context.Context, _, n int, t *tally) error {
		msgs := make([]messaging.Message, batch)
		for i := range msgs {
			msgs[i].Body = body
		}
		for ; n > 0; n -= batch {
			part := msgs[:min(n, batch)]
			if err := t.send(ctx, len(part)); err != nil {
				return err
			}
			if err := ch.pub.Publish(ctx, part...); err != nil {
				return err
			}
		}
		return nil
	}
}

// loop receives up to atOnce deliveries and settles them, settled a call.
func (ch *channel) loop(w work, atOnce, settled int) func(ctx context.Context, consumer int, t *tally) error {
	return func(ctx context.Context, consumer int, t *tally) error {
		sub := ch.sub(consumer)
		settle := settler(sub)
		for {
			ds, err := sub.Receive(ctx, atOnce)
			if err != nil {
				return err
			}
			for len(ds) > 0 {
				part := ds[:min(settled, len(ds))]
				ds = ds[len(part):]
				for _, d := range part {
					if len(d.Body) != w.Size {
						return fmt.Errorf("a body of %d bytes came", len(d.Body))
					}
				}
				if err := settle(ctx, part...); err != nil {
					return err
				}
				for range part {
					t.add(1)
				}
			}
		}
	}
}

// plain is ours, written the plainest way: a Message literal and a single
// delivery as arguments, for which the compiler makes a slice each.
func plain(f flavour, name string) contender {
	return paced(name, func(ctx context.Context, w work, m *meter, ahead int) error {
		ch, err := f.open(ctx, f.forLoops(w.Consumers))
		if err != nil {
			return err
		}
		body := w.body()
		err = w.move(ctx, m, flow{
			ahead: ahead,
			publish: func(ctx context.Context, _, n int, t *tally) error {
				for range n {
					if err := t.send(ctx, 1); err != nil {
						return err
					}
					if err := ch.pub.Publish(ctx, messaging.Message{Body: body}); err != nil {
						return err
					}
				}
				return nil
			},
			consume: func(ctx context.Context, consumer int, t *tally) error {
				sub := ch.sub(consumer)
				settle := settler(sub)
				for d, err := range messaging.Deliveries(ctx, sub, received) {
					if err != nil {
						return err
					}
					if err := settle(ctx, d); err != nil {
						return err
					}
					t.add(1)
				}
				return nil
			},
		})
		return errors.Join(err, ch.close())
	})
}

// consumed is ours through one call of Consume with as many handlers as the
// work has consumers, and a stream as many partitions.
func consumed(f flavour, name string) contender {
	return paced(name, func(ctx context.Context, w work, m *meter, ahead int) error {
		ch, err := f.open(ctx, layout{subscribers: 1, partitions: w.Consumers})
		if err != nil {
			return err
		}
		consume := ch.consume(w.Consumers)
		w.Consumers = 1
		err = w.move(ctx, m, flow{ahead: ahead, publish: ch.publisher(w, 1), consume: consume})
		return errors.Join(err, ch.close())
	})
}

// consume runs Consume with a handler that counts.
func (ch *channel) consume(concurrency int) func(ctx context.Context, consumer int, t *tally) error {
	return func(ctx context.Context, consumer int, t *tally) error {
		return messaging.Consume(ctx, ch.sub(consumer), func(context.Context, *messaging.Delivery) error {
			t.add(1)
			return nil
		}, &messaging.ConsumeOptions{Concurrency: concurrency})
	}
}

// drain measures consumption alone: everything was published before. With
// concurrency 0 it is a loop that settles by one call what one Receive of up
// to atOnce returned, otherwise Consume.
func drain(f flavour, name string, partitions, atOnce, concurrency int) contender {
	return one(name, func(ctx context.Context, w work, m *meter) error {
		ch, err := f.open(ctx, layout{subscribers: 1, partitions: partitions})
		if err != nil {
			return err
		}
		consume := ch.loop(w, atOnce, atOnce)
		if concurrency > 0 {
			consume = ch.consume(concurrency)
		}
		err = ch.publisher(w, received)(ctx, 0, w.Messages, new(tally))
		if err == nil {
			w.Producers, w.Consumers = 0, 1
			err = w.move(ctx, m, flow{consume: consume})
		}
		return errors.Join(err, ch.close())
	})
}
