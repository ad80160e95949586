package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// Deliveries is for programs that want their own loop. Leaving it gives back
// what was received and not yielded.
func ExampleDeliveries() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders?order=key"))
	defer queue.Close()
	for _, item := range []string{"tea", "coffee", "water"} {
		check(pub.Publish(ctx, messaging.Message{Key: "ann", Body: []byte(item)}))
	}

	for d, err := range messaging.Deliveries(ctx, queue, 10) {
		check(err) // a queue has no end: the loop ends with an error, or by leaving it
		fmt.Printf("%s\n", d.Body)
		check(queue.Ack(ctx, d))
		if string(d.Body) == "coffee" {
			break
		}
	}
	// Output:
	// tea
	// coffee
}

// The interface that Consume uses, by hand.
func ExampleQueueSubscriber() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders"))
	defer queue.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("two coffees")}))

	ds := must(queue.Receive(ctx, 10))                 // waits for one, takes up to ten
	check(queue.Nack(ctx, 10*time.Millisecond, ds...)) // failed: again, later
	ds = must(queue.Receive(ctx, 10))
	fmt.Printf("%s, attempt %d\n", ds[0].Body, ds[0].Attempt)
	check(queue.Release(ctx, ds...)) // untouched: again, at once, and no attempt
	ds = must(queue.Receive(ctx, 10))
	fmt.Printf("%s, attempt %d\n", ds[0].Body, ds[0].Attempt)
	check(queue.Ack(ctx, ds...)) // done: never again

	err := queue.Ack(ctx, ds...)
	fmt.Println("a second time:", errors.Is(err, messaging.ErrLost))
	// Output:
	// two coffees, attempt 2
	// two coffees, attempt 2
	// a second time: true
}

// A commit covers all that lies before it in its partition. Release sets a
// partition back.
func ExampleStreamSubscriber() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://visits?partitions=1"))
	defer pub.Close()
	stream := must(backends.OpenStream(ctx, "mem://visits?group=statistics"))
	defer stream.Close()
	for _, page := range []string{"home", "shop", "cart"} {
		check(pub.Publish(ctx, messaging.Message{Body: []byte(page)}))
	}

	ds := must(stream.Receive(ctx, 3))
	check(stream.Commit(ctx, ds[0]))
	check(stream.Release(ctx, ds[1]))
	for _, d := range must(stream.Receive(ctx, 3)) {
		fmt.Printf("%s at offset %s, redelivered: %v\n", d.Body, d.Offset, d.Redelivered)
	}
	err := stream.Commit(ctx, ds[2])
	fmt.Println("one from before:", errors.Is(err, messaging.ErrLost))
	// Output:
	// shop at offset 1, redelivered: true
	// cart at offset 2, redelivered: true
	// one from before: true
}

// What a subscriber promises depends on the broker and on the URL.
func ExampleCapabilities() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	for _, url := range []string{"mem://a", "mem://b?order=key&lease=5s", "mem://c?kind=stream&group=g"} {
		sub := must(backends.OpenSubscriber(ctx, url))
		can := sub.Capabilities()
		fmt.Printf("%s: %v, attempts %v, lease %v, window %d\n", url, can.Order, can.Attempts, can.Lease, can.Window)
		check(sub.Close())
	}
	// Output:
	// mem://a: Unordered, attempts true, lease 30s, window 256
	// mem://b?order=key&lease=5s: OrderedByKey, attempts true, lease 5s, window 256
	// mem://c?kind=stream&group=g: Ordered, attempts false, lease 30s, window 1024
}

// A delivery is ours as long as its lease is. Consume cancels a handler whose
// lease is lost; whoever receives by hand watches the lease.
func ExampleLease_Lost() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://films"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://films?hold=5ms"))
	defer queue.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("a long one")}))

	d := must(queue.Receive(ctx, 1))[0]
	select {
	case <-d.Lease.Lost():
		fmt.Println("too slow: somebody else gets it")
	case <-time.After(time.Minute): // the work
		check(queue.Ack(ctx, d))
	}
	fmt.Println(errors.Is(queue.Ack(ctx, d), messaging.ErrLost))
	// Output:
	// too slow: somebody else gets it
	// true
}

// When a group gets a new member, partitions move to it. Their former owner is
// told before: it finishes what it has begun, commits, and releases the rest.
func ExampleLease_Ending() {
	ctx := context.Background()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://visits?partitions=2"))
	defer pub.Close()
	old := must(backends.OpenStream(ctx, "mem://visits?group=statistics"))
	defer old.Close()
	for i := range 20 {
		check(pub.Publish(ctx, messaging.Message{Key: fmt.Sprint("visitor ", i)}))
	}
	of := map[string][]*messaging.Delivery{} // by partition
	for _, d := range must(old.Receive(ctx, 20)) {
		of[d.Partition] = append(of[d.Partition], d)
	}

	newcomer := must(backends.OpenStream(ctx, "mem://visits?group=statistics"))
	defer newcomer.Close()
	var moving []*messaging.Delivery
	select {
	case <-of["0"][0].Lease.Ending():
		moving = of["0"]
	case <-of["1"][0].Lease.Ending():
		moving = of["1"]
	}
	check(old.Commit(ctx, moving[0]))      // was being handled
	check(old.Release(ctx, moving[1:]...)) // had not begun
	<-moving[0].Lease.Lost()

	next := must(newcomer.Receive(ctx, 1))[0]
	fmt.Println("the new owner begins where the old one ended:", next.Offset == moving[1].Offset)
	fmt.Println("the old one is fenced off:", errors.Is(old.Commit(ctx, moving[1]), messaging.ErrLost))
	// Output:
	// the new owner begins where the old one ended: true
	// the old one is fenced off: true
}
