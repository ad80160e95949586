package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/fa5182d2/messaging"
)

// outstanding measures a channel on which n messages are outstanding all the
// time: ready to be received, or, where held, delivered and unsettled. One
// goroutine publishes, receives and settles in turn, the oldest first. A run
// moves so many that the collector works through what is outstanding, too.
func outstanding(f flavour, name string, n int, held bool, partitions int) contender {
	c := one(name, func(ctx context.Context, w work, m *meter) error {
		n := min(n, 100*w.Messages) // a test has little time
		ch, err := f.open(ctx, layout{subscribers: 1, partitions: partitions, params: fmt.Sprint("&inflight=", 2*n+received)})
		if err != nil {
			return err
		}
		err = ch.cycle(ctx, w, m, n, held)
		return errors.Join(err, ch.close())
	})
	c.messages = 1_000_000
	return c
}

func (ch *channel) cycle(ctx context.Context, w work, m *meter, n int, held bool) error {
	if err := ch.publisher(w, received)(ctx, 0, n, new(tally)); err != nil {
		return err
	}
	var oldest ring
	if held {
		oldest.ds = make([]*messaging.Delivery, n)
		if err := ch.receive(ctx, n, func(_ context.Context, d ...*messaging.Delivery) error {
			oldest.swap(d)
			return nil
		}); err != nil {
			return err
		}
	}
	settle := settler(ch.subs[0])
	publish := ch.publisher(w, 1)
	var unbounded tally
	m.start()
	for left := w.Messages; left > 0; left -= received {
		k := min(left, received)
		if err := publish(ctx, 0, k, &unbounded); err != nil {
			return err
		}
		err := ch.receive(ctx, k, func(ctx context.Context, d ...*messaging.Delivery) error {
			oldest.swap(d)
			return settle(ctx, d...)
		})
		if err != nil {
			return err
		}
	}
	m.stop(w.Messages)
	return nil
}

// receive receives n deliveries and calls f with each.
func (ch *channel) receive(ctx context.Context, n int, f func(context.Context, ...*messaging.Delivery) error) error {
	for n > 0 {
		ds, err := ch.subs[0].Receive(ctx, min(n, received))
		if err != nil {
			return err
		}
		n -= len(ds)
		for i := range ds {
			if err := f(ctx, ds[i:i+1]...); err != nil {
				return err
			}
		}
	}
	return nil
}

// ring holds deliveries.
type ring struct {
	ds   []*messaging.Delivery
	next int
}

// swap puts d in the place of the oldest, and the oldest in that of d.
func (r *ring) swap(d []*messaging.Delivery) {
	if len(r.ds) == 0 {
		return
	}
	d[0], r.ds[r.next] = r.ds[r.next], d[0]
	r.next = (r.next + 1) % len(r.ds)
}
