package memory_test

import (
	"context"
	"errors"
	"fmt"
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

// The fields are defaults; a URL's parameters override them.
func ExampleBackend() {
	ctx := context.Background()
	backend := &memory.Backend{Order: messaging.OrderedByKey, Lease: 5 * time.Second}
	backends := messaging.Backends{"mem": backend}

	for _, url := range []string{"mem://orders", "mem://clicks?order=unordered&lease=1s"} {
		queue := must(backends.OpenQueue(ctx, url))
		fmt.Println(queue.Capabilities().Order, queue.Capabilities().Lease)
		check(queue.Close())
	}
	// Output:
	// OrderedByKey 5s
	// Unordered 1s
}

// A crash gives nothing back: what the consumer held comes again when its
// lease is over, and that was an attempt.
func ExampleBackend_Crash() {
	ctx := context.Background()
	backend := &memory.Backend{Lease: 10 * time.Millisecond}
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("two coffees")}))

	crashing := must(backends.OpenQueue(ctx, "mem://orders"))
	d := must(crashing.Receive(ctx, 1))[0]
	check(backend.Crash(crashing))
	<-d.Lease.Lost()

	other := must(backends.OpenQueue(ctx, "mem://orders"))
	defer other.Close()
	for _, d := range must(other.Receive(ctx, 1)) {
		fmt.Printf("%s, attempt %d, redelivered: %v\n", d.Body, d.Attempt, d.Redelivered)
	}
	// Output: two coffees, attempt 2, redelivered: true
}

// A zombie sleeps past its lease and then goes on as if nothing had happened:
// it finds out when it settles.
func ExampleBackend_Freeze() {
	ctx := context.Background()
	backend := &memory.Backend{Lease: 10 * time.Millisecond}
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("two coffees")}))

	zombie := must(backends.OpenQueue(ctx, "mem://orders"))
	defer zombie.Close()
	ds := must(zombie.Receive(ctx, 1))
	thaw := must(backend.Freeze(zombie))

	other := must(backends.OpenQueue(ctx, "mem://orders"))
	defer other.Close()
	check(other.Ack(ctx, must(other.Receive(ctx, 1))...))
	thaw()
	fmt.Println(errors.Is(zombie.Ack(ctx, ds...), messaging.ErrLost))
	// Output: true
}

// While the broker is paused every call waits, or ends with its context.
func ExampleBackend_Pause() {
	backend := new(memory.Backend)
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(context.Background(), "mem://orders"))
	defer pub.Close()

	resume := backend.Pause()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(errors.Is(pub.Publish(ctx, messaging.Message{}), context.DeadlineExceeded))
	resume()
	fmt.Println(pub.Publish(context.Background(), messaging.Message{}))
	// Output:
	// true
	// <nil>
}

// A channel that is deleted is not found any more.
func ExampleBackend_Delete() {
	ctx := context.Background()
	backend := new(memory.Backend)
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()

	check(backend.Delete("orders"))
	fmt.Println(errors.Is(pub.Publish(ctx, messaging.Message{}), messaging.ErrNotFound))
	// Output: true
}

// Messages carry the broker's time, which may be wrong, and may jump.
func ExampleBackend_StepClock() {
	ctx := context.Background()
	backend := new(memory.Backend)
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders?partitions=1"))
	defer pub.Close()

	check(pub.Publish(ctx, messaging.Message{Body: []byte("first")}))
	backend.StepClock(-time.Hour) // as when somebody sets it right
	check(pub.Publish(ctx, messaging.Message{Body: []byte("second")}))

	stream := must(backends.OpenStream(ctx, "mem://orders"))
	defer stream.Close()
	ds := must(stream.Receive(ctx, 2))
	fmt.Println(ds[1].Published.Before(ds[0].Published))
	// Output: true
}

// Retention removes messages whoever has read them. A reader that was too
// slow is told, or goes on behind the gap.
func ExampleBackend_Trim() {
	ctx := context.Background()
	backend := new(memory.Backend)
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders?partitions=1"))
	defer pub.Close()
	told := must(backends.OpenStream(ctx, "mem://orders?group=billing"))
	defer told.Close()
	skips := must(backends.OpenStream(ctx, "mem://orders?group=statistics&trimmed=skip"))
	defer skips.Close()
	for _, item := range []string{"tea", "coffee", "water"} {
		check(pub.Publish(ctx, messaging.Message{Body: []byte(item)}))
	}

	check(backend.Trim("orders", "0", "2"))
	_, err := told.Receive(ctx, 1)
	fmt.Println(errors.Is(err, messaging.ErrTrimmed))
	fmt.Printf("%s\n", must(skips.Receive(ctx, 1))[0].Body)
	// Output:
	// true
	// water
}

// A topic can get more partitions while it is in use: keys are spread anew.
func ExampleBackend_AddPartitions() {
	ctx := context.Background()
	backend := new(memory.Backend)
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders?partitions=1"))
	defer pub.Close()
	check(backend.AddPartitions("orders", 15))
	for i := range 100 {
		check(pub.Publish(ctx, messaging.Message{Key: fmt.Sprint("customer ", i)}))
	}

	used := map[string]bool{}
	stream := must(backends.OpenStream(ctx, "mem://orders?end=now"))
	defer stream.Close()
	for d, err := range messaging.Deliveries(ctx, stream, 100) {
		check(err)
		used[d.Partition] = true
	}
	fmt.Println(len(used))
	// Output: 16
}

// A split partition is finished before its children begin, so that a key
// keeps its order.
func ExampleBackend_Split() {
	ctx := context.Background()
	backend := new(memory.Backend)
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders?partitions=1"))
	defer pub.Close()
	stream := must(backends.OpenStream(ctx, "mem://orders?group=billing"))
	defer stream.Close()

	check(pub.Publish(ctx, messaging.Message{Key: "ann", Body: []byte("before")}))
	check(backend.Split("orders", "0"))
	check(pub.Publish(ctx, messaging.Message{Key: "ann", Body: []byte("after")}))
	for range 2 {
		ds := must(stream.Receive(ctx, 10))
		fmt.Printf("%d, %s\n", len(ds), ds[0].Body)
		check(stream.Commit(ctx, ds...))
	}
	// Output:
	// 1, before
	// 1, after
}

// Chaos makes the faults that every broker has now and then happen often, by
// a seed: a program that fails under them would fail in production.
func ExampleBackend_SetChaos() {
	ctx := context.Background()
	backend := &memory.Backend{Seed: 7}
	backends := messaging.Backends{"mem": backend}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders"))
	defer queue.Close()

	backend.SetChaos(memory.Chaos{Duplicate: 1})
	check(pub.Publish(ctx, messaging.Message{ID: "order-17"}))
	hit := backend.SetChaos(memory.Chaos{}) // no more: now to see what came of it
	ds := must(queue.Receive(ctx, 10))
	fmt.Println(hit, len(ds), ds[0].ID == ds[1].ID)
	// Output: 1 2 true
}
