package messaging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// A queue: whoever is free takes the next message, and what fails comes again
// later while others go on.
func ExampleConsume() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders"))
	defer queue.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("two coffees")}))

	handle := func(ctx context.Context, d *messaging.Delivery) error {
		if d.Attempt == 1 {
			fmt.Printf("%s: the machine is cold\n", d.Body)
			return errors.New("cold")
		}
		fmt.Printf("%s: done at attempt %d\n", d.Body, d.Attempt)
		stop() // Consume drains, and returns nil
		return nil
	}
	check(messaging.Consume(ctx, queue, handle, &messaging.ConsumeOptions{
		Concurrency: 16,
		Backoff:     func(attempt int, err error) time.Duration { return time.Millisecond },
	}))
	// Output:
	// two coffees: the machine is cold
	// two coffees: done at attempt 2
}

// A stream: each partition is handled in order, and the group's cursor moves
// when its messages are handled. The next consumer of the group goes on there.
func ExampleConsume_stream() {
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(context.Background(), "mem://visits"))
	defer pub.Close()

	for _, pages := range [][]string{{"home", "shop", "cart"}, {"help", "exit"}} {
		for _, page := range pages {
			check(pub.Publish(context.Background(), messaging.Message{Key: "ann", Body: []byte(page)}))
		}
		ctx, stop := context.WithCancel(context.Background())
		stream := must(backends.OpenStream(ctx, "mem://visits?group=statistics"))
		check(messaging.Consume(ctx, stream, func(ctx context.Context, d *messaging.Delivery) error {
			fmt.Printf("%s, ", d.Body)
			if string(d.Body) == pages[len(pages)-1] {
				stop()
			}
			return nil
		}, nil))
		check(stream.Close())
		fmt.Println("a restart")
	}
	// Output:
	// home, shop, cart, a restart
	// help, exit, a restart
}

// What fails too often goes to the dead letters, which may be on any broker,
// and does not come again. Headers tell why.
func ExampleConsume_deadLetter() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders"))
	defer queue.Close()
	dead := must(backends.OpenPublisher(ctx, "mem://orders-dead"))
	defer dead.Close()
	check(pub.Publish(ctx, messaging.Message{ID: "order-17", Body: []byte("a unicorn")}))

	var consuming sync.WaitGroup
	consuming.Go(func() {
		refuse := func(ctx context.Context, d *messaging.Delivery) error { return errors.New("no unicorns today") }
		check(messaging.Consume(ctx, queue, refuse, &messaging.ConsumeOptions{
			MaxAttempts: 3,
			DeadLetter:  dead,
			Backoff:     func(int, error) time.Duration { return time.Millisecond },
		}))
	})

	letters := must(backends.OpenQueue(ctx, "mem://orders-dead"))
	defer letters.Close()
	for _, d := range must(letters.Receive(ctx, 1)) {
		fmt.Printf("%s, %s\n", d.ID, d.Body)
		fmt.Println("reason:  ", d.Headers.Get("messaging-reason"))
		fmt.Println("attempts:", d.Headers.Get("messaging-attempts"))
		check(letters.Ack(ctx, d))
	}
	stop()
	consuming.Wait()
	// Output:
	// order-17, a unicorn
	// reason:   no unicorns today
	// attempts: 3
}

// At most once settles a message before its handler starts, so a failure, or a
// crash, loses it instead of handling it twice. OnError hears of it.
func ExampleConsume_atMostOnce() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://horns"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://horns?order=key"))
	defer queue.Close()
	check(pub.Publish(ctx,
		messaging.Message{Key: "car", Body: []byte("honk")},
		messaging.Message{Key: "car", Body: []byte("beep")},
	))

	check(messaging.Consume(ctx, queue, func(ctx context.Context, d *messaging.Delivery) error {
		fmt.Printf("%s\n", d.Body)
		if string(d.Body) == "honk" {
			return errors.New("the horn is broken")
		}
		stop()
		return nil
	}, &messaging.ConsumeOptions{
		Semantics: messaging.AtMostOnce,
		OnError:   func(d *messaging.Delivery, err error) { fmt.Printf("lost %s: %v\n", d.Body, err) },
	}))
	// Output:
	// honk
	// lost honk: the horn is broken
	// beep
}

// OrderedByKey handles different keys of a partition in parallel, and each
// key in order. The cursor follows only what is handled without a gap.
func ExampleConsume_orderedByKey() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://accounts?partitions=1"))
	defer pub.Close()
	stream := must(backends.OpenStream(ctx, "mem://accounts?group=books"))
	defer stream.Close()
	check(pub.Publish(ctx,
		messaging.Message{Key: "ann", Body: []byte("slow")},
		messaging.Message{Key: "bob", Body: []byte("quick")},
	))

	bobIsDone := make(chan struct{})
	check(messaging.Consume(ctx, stream, func(ctx context.Context, d *messaging.Delivery) error {
		if d.Key == "bob" {
			fmt.Println("bob is done")
			close(bobIsDone)
			return nil
		}
		<-bobIsDone // bob's message lies behind ann's, and does not wait for it
		fmt.Println("ann is done")
		stop()
		return nil
	}, &messaging.ConsumeOptions{Concurrency: 2, Order: messaging.OrderedByKey}))
	// Output:
	// bob is done
	// ann is done
}

// When the context ends, handlers that run get Grace to finish. What Grace
// cuts off is given back, and Consume says that there was something.
func ExampleConsume_grace() {
	ctx, stop := context.WithCancel(context.Background())
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://films"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://films"))
	defer queue.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("a long one")}))

	err := messaging.Consume(ctx, queue, func(ctx context.Context, d *messaging.Delivery) error {
		stop()
		<-ctx.Done() // not at once: first Grace passes
		fmt.Println("the handler:", context.Cause(ctx))
		return ctx.Err()
	}, &messaging.ConsumeOptions{Grace: time.Millisecond})
	fmt.Println("Consume:", errors.Is(err, messaging.ErrGrace))
	for _, d := range must(queue.Receive(context.Background(), 1)) {
		fmt.Printf("%s comes again, attempt %d\n", d.Body, d.Attempt)
	}
	// Output:
	// the handler: messaging: consume: grace ended
	// Consume: true
	// a long one comes again, attempt 1
}

// Reject says that trying again is of no use.
func ExampleReject() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders"))
	defer queue.Close()
	dead := must(backends.OpenPublisher(ctx, "mem://orders-dead"))
	defer dead.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("minus one coffee")}))

	check(messaging.Consume(ctx, queue, func(ctx context.Context, d *messaging.Delivery) error {
		stop()
		return messaging.Reject(fmt.Errorf("cannot make %s", d.Body))
	}, &messaging.ConsumeOptions{DeadLetter: dead}))

	letters := must(backends.OpenQueue(context.Background(), "mem://orders-dead"))
	defer letters.Close()
	for _, d := range must(letters.Receive(context.Background(), 1)) {
		fmt.Println(d.Headers.Get("messaging-reason"))
	}
	// Output: cannot make minus one coffee
}

// Decode gives the handler a typed value. A body that does not decode is
// rejected.
func ExampleDecode() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders"))
	defer queue.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte(`{"Item": "coffee", "Count": 2}`)}))

	type order struct {
		Item  string
		Count int
	}
	handle := messaging.Decode(json.Unmarshal, func(ctx context.Context, d *messaging.Delivery, o order) error {
		fmt.Println(o.Count, o.Item)
		stop()
		return nil
	})
	check(messaging.Consume(ctx, queue, handle, nil))
	// Output: 2 coffee
}

// A handler is a function, so what is to happen around it is one, too.
func ExampleHandler() {
	logged := func(next messaging.Handler) messaging.Handler {
		return func(ctx context.Context, d *messaging.Delivery) error {
			err := next(ctx, d)
			fmt.Printf("%s: %v\n", d.Body, err)
			return err
		}
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backends := messaging.Backends{"mem": new(memory.Backend)}
	pub := must(backends.OpenPublisher(ctx, "mem://orders"))
	defer pub.Close()
	queue := must(backends.OpenQueue(ctx, "mem://orders"))
	defer queue.Close()
	check(pub.Publish(ctx, messaging.Message{Body: []byte("two coffees")}))
	check(messaging.Consume(ctx, queue, logged(func(context.Context, *messaging.Delivery) error {
		stop()
		return nil
	}), nil))
	// Output: two coffees: <nil>
}
