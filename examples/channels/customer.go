package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fa5182d2/messaging"
)

// orders are what the customer sends: three that can be billed.
var orders = []string{
	`{"ID": "1", "Customer": "ann", "Cents": 1250}`,
	`{"ID": "2", "Customer": "bob", "Cents": 399}`,
	`{"ID": "3", "Customer": "ann", "Cents": 70000}`,
	`{"ID": "4", "Customer": "cem"}`,
	`what is this?`,
}

const canBeBilled = 3

// beCustomer sends the orders and prints what comes of them.
func beCustomer(ctx context.Context, c *channels, out io.Writer) error {
	pub, err := c.publisher(ctx, "orders")
	if err != nil {
		return err
	}
	defer pub.Close()
	msgs := make([]messaging.Message, len(orders))
	for i, o := range orders {
		msgs[i] = messaging.Message{Body: []byte(o)}
	}
	if err := pub.Publish(ctx, msgs...); err != nil {
		return err
	}
	err = printSome(ctx, c, "invoices", canBeBilled, func(d *messaging.Delivery) {
		fmt.Fprintf(out, "invoice   %s\n", d.Body)
	})
	if err != nil {
		return err
	}
	return printSome(ctx, c, "rejected", len(orders)-canBeBilled, func(d *messaging.Delivery) {
		fmt.Fprintf(out, "rejected  %s: %s\n", d.Body, d.Headers.Get("messaging-reason"))
	})
}

// printSome takes n messages from a channel.
func printSome(ctx context.Context, c *channels, name string, n int, print func(*messaging.Delivery)) error {
	sub, err := c.subscriber(ctx, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	for d, err := range messaging.Deliveries(ctx, sub, n) {
		if err != nil {
			return err
		}
		print(d)
		if err := done(ctx, sub, d); err != nil {
			return err
		}
		if n--; n == 0 {
			break
		}
	}
	return nil
}

// done settles a delivery of either kind of channel.
func done(ctx context.Context, sub messaging.Subscriber, d *messaging.Delivery) error {
	switch sub := sub.(type) {
	case messaging.QueueSubscriber:
		return sub.Ack(ctx, d)
	case messaging.StreamSubscriber:
		return sub.Commit(ctx, d)
	}
	return errors.ErrUnsupported
}
