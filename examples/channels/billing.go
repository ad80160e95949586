package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/fa5182d2/messaging"
)

// order is what the service is sent.
type order struct {
	ID       string
	Customer string
	Cents    int
}

// billing is the service: for each order it sends an invoice. It knows the
// names of its channels and nothing about the broker.
type billing struct {
	orders   messaging.Subscriber
	invoices messaging.Publisher
	rejected messaging.Publisher // what never becomes an invoice
}

// openBilling opens the channels that the service needs, all of them before
// it starts.
func openBilling(ctx context.Context, c *channels) (*billing, error) {
	var b billing
	var errs [3]error
	b.orders, errs[0] = c.subscriber(ctx, "orders")
	b.invoices, errs[1] = c.publisher(ctx, "invoices")
	b.rejected, errs[2] = c.publisher(ctx, "rejected")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return &b, nil
}

// close closes what is open.
func (b *billing) close() error {
	var errs []error
	for _, c := range []io.Closer{b.orders, b.invoices, b.rejected} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// run bills orders until ctx ends, then drains.
func (b *billing) run(ctx context.Context) error {
	return messaging.Consume(ctx, b.orders, messaging.Decode(json.Unmarshal, b.bill), &messaging.ConsumeOptions{
		Concurrency: 8,
		MaxAttempts: 5,
		DeadLetter:  b.rejected,
	})
}

// bill is called for each order, possibly more than once. The invoice's id
// comes from the order, so that whoever reads invoices can tell a second one.
func (b *billing) bill(ctx context.Context, d *messaging.Delivery, o order) error {
	if o.Cents <= 0 {
		return messaging.Reject(fmt.Errorf("order %s has no amount", o.ID))
	}
	return b.invoices.Publish(ctx, messaging.Message{
		ID:   "invoice-" + o.ID,
		Key:  o.Customer,
		Body: fmt.Appendf(nil, "order %s: %s owes %d.%02d", o.ID, o.Customer, o.Cents/100, o.Cents%100),
	})
}
