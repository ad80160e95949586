package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// check ends an example that cannot go on.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// must is check for calls that return something.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// A service, whole: it publishes to a channel and consumes from it. Another
// broker is another URL, and another line in the map.
func Example() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}

	orders, err := backends.OpenPublisher(ctx, "mem://orders")
	check(err)
	check(orders.Publish(ctx, messaging.Message{Key: "ann", Body: []byte("two coffees")}))

	queue, err := backends.OpenQueue(ctx, "mem://orders")
	check(err)
	check(messaging.Consume(ctx, queue, func(ctx context.Context, d *messaging.Delivery) error {
		fmt.Printf("%s ordered %s\n", d.Key, d.Body)
		stop()     // a service would go on
		return nil // done: the message is acknowledged
	}, nil))
	check(errors.Join(queue.Close(), orders.Close()))
	// Output: ann ordered two coffees
}

// What cannot be opened says so at once, and an error never holds the URL's
// password.
func ExampleBackends_OpenPublisher() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}

	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("two coffees")}))

	_, err := backends.OpenPublisher(ctx, "mem://invoices?create=false")
	fmt.Println(errors.Is(err, messaging.ErrNotFound))
	_, err = backends.OpenPublisher(ctx, "bunny://me:secret@broker/orders")
	fmt.Println(err)
	// Output:
	// true
	// messaging: open bunny://broker/orders: no backend has scheme "bunny"; there are: mem
}

// Each group= is a subscription of its own: consumers with one group share its
// messages, and each group gets everything that its subject= matches.
func ExampleBackends_OpenQueue() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	german := must(backends.OpenQueue(ctx, "mem://orders?group=german&subject=order.de.%23")) // %23 is #
	defer german.Close()
	audit := must(backends.OpenQueue(ctx, "mem://orders?group=audit"))
	defer audit.Close()
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()

	check(pub.Publish(ctx,
		messaging.Message{Subject: "order.de.created"},
		messaging.Message{Subject: "order.fr.created"},
		messaging.Message{Subject: "order.de.berlin.paid"},
	))
	fmt.Println("german:", subjects(must(german.Receive(ctx, 10))))
	fmt.Println("audit: ", subjects(must(audit.Receive(ctx, 10))))
	// Output:
	// german: order.de.berlin.paid order.de.created
	// audit:  order.de.berlin.paid order.de.created order.fr.created
}

// subjects returns the subjects of ds, sorted: a queue has no order.
func subjects(ds []*messaging.Delivery) string {
	var all []string
	for _, d := range ds {
		all = append(all, d.Subject)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// Without group= a stream is read alone, as often as one likes, and no group
// notices. With end= the reading has an end.
func ExampleBackends_OpenStream() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://visits"))
	defer pub.Close()
	for _, page := range []string{"home", "shop", "cart"} {
		check(pub.Publish(ctx, messaging.Message{Key: "ann", Body: []byte(page)}))
	}

	for _, reading := range []string{"once:", "twice:"} {
		fmt.Print(reading)
		stream := must(backends.OpenStream(ctx, "mem://visits?start=earliest&end=now"))
		for d, err := range messaging.Deliveries(ctx, stream, 100) {
			check(err)
			fmt.Printf(" %s", d.Body)
			check(stream.Commit(ctx, d)) // makes room for more; without a group nothing is recorded
		}
		check(stream.Close())
		fmt.Println()
	}
	// Output:
	// once: home shop cart
	// twice: home shop cart
}

// A program that serves queues and streams alike lets the URL decide.
func ExampleBackends_OpenSubscriber() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}

	for _, url := range []string{"mem://orders", "mem://orders?kind=stream&group=audit"} {
		sub := must(backends.OpenSubscriber(ctx, url))
		switch sub.(type) {
		case messaging.QueueSubscriber:
			fmt.Println(url, "is a queue")
		case messaging.StreamSubscriber:
			fmt.Println(url, "is a stream")
		}
		check(sub.Close())
	}
	// Output:
	// mem://orders is a queue
	// mem://orders?kind=stream&group=audit is a stream
}

// One call publishes several messages, and each has its own outcome.
func ExampleErrorAt() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": &memory.Backend{MaxMessage: 10}}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()

	msgs := []messaging.Message{
		{Body: []byte("tea")},
		{Body: []byte("two hundred coffees")},
		{Body: []byte("water")},
	}
	err := pub.Publish(ctx, msgs...)
	for i, m := range msgs {
		switch err := messaging.ErrorAt(err, i); {
		case err == nil:
			fmt.Printf("%s: the broker has it\n", m.Body)
		case errors.Is(err, messaging.ErrUncertain):
			fmt.Printf("%s: the broker may have it\n", m.Body)
		case errors.Is(err, messaging.ErrTooLarge):
			fmt.Printf("%s: does not fit\n", m.Body)
		default:
			fmt.Printf("%s: was not sent: %v\n", m.Body, err)
		}
	}
	// Output:
	// tea: the broker has it
	// two hundred coffees: does not fit
	// water: the broker has it
}

// A BatchError says what happened in one line. errors.Is asks whether any
// message failed in that way; ErrorAt tells which.
func ExampleBatchError() {
	var err error = &messaging.BatchError{Errs: []error{nil, messaging.ErrTooLarge, messaging.ErrUncertain}}
	err = fmt.Errorf("send the orders: %w", err)

	fmt.Println(err)
	fmt.Println(errors.Is(err, messaging.ErrUncertain))
	fmt.Println(messaging.ErrorAt(err, 0), "/", messaging.ErrorAt(err, 1))
	// Output:
	// send the orders: messaging: 2 of 3 failed, the first with: messaging: message too large
	// true
	// <nil> / messaging: message too large
}

// Publish repeats what failed by itself. Who wants to repeat it across calls
// gives the message its id first, so that a second copy can be told.
func ExampleNewID() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	queue := must(backends.OpenQueue(ctx, "mem://payments?dedup=10m"))
	defer queue.Close()
	pub := must(backends.OpenPublisher(ctx, "mem://payments"))
	defer pub.Close()

	payment := messaging.Message{ID: messaging.NewID(), Body: []byte("12.50")}
	check(pub.Publish(ctx, payment))
	check(pub.Publish(ctx, payment)) // as after an ErrUncertain

	// This broker compares ids, so there is one message. Others do not.
	fmt.Println(len(must(queue.Receive(ctx, 10))))
	// Output: 1
}

// Headers keep their order and their duplicates. Set makes a copy, so a
// message can be changed and published again without touching the first one.
func ExampleHeaders() {
	first := messaging.Headers{{Key: "trace", Value: "a1"}, {Key: "tag", Value: "new"}, {Key: "tag", Value: "big"}}
	second := first
	second.Set("tag", "old")
	second.Set("hop", "2")

	fmt.Println(first.Get("tag"), first.Keys(), first)
	fmt.Println(second.Get("tag"), second.Keys(), second)
	// Output:
	// new [trace tag] [{trace a1} {tag new} {tag big}]
	// old [trace tag hop] [{trace a1} {tag old} {hop 2}]
}

// Offsets of one partition compare by position, not as text.
func ExampleOffset_Compare() {
	offsets := []messaging.Offset{"10", "9", "100"}
	slices.SortFunc(offsets, messaging.Offset.Compare)
	fmt.Println(offsets)
	// Output: [9 10 100]
}
