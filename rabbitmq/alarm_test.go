package rabbitmq

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance/brokers"
)

// While the broker has a memory alarm, publishers wait as long as their contexts
// allow, and consumers go on; afterwards everything does, and across a restart,
// too.
func TestAlarmAndRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a broker of its own: run it without -short")
	}
	broker := brokers.OwnRabbitMQ(t, 1)
	node := broker.Nodes[0]
	u := broker.URL() + "?queue=q&create=true&type=classic"
	p, q := openPublisher(t, &Backend{}, u), openQueue(t, &Backend{}, u)
	publish(t, p, 20)
	tool := func(args ...string) {
		t.Helper()
		if out, err := node.Tool(soon(t), args...); err != nil {
			t.Fatal(out, err)
		}
	}
	tool("set_vm_memory_high_watermark", "0.000001")
	// It looks at its memory now and then, and tells those who send something.
	taken := 20
	for held := false; !held; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := p.Publish(ctx, messaging.Message{Body: []byte{0, 0}})
		cancel()
		if held = err != nil; held {
			wants(t, err, context.DeadlineExceeded)
		} else {
			taken++
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := p.Publish(ctx, make([]messaging.Message, 10_000)...)
	for i := range 10_000 {
		if one := messaging.ErrorAt(err, i); !errors.Is(one, context.DeadlineExceeded) || errors.Is(one, messaging.ErrUncertain) {
			t.Fatalf("place %d: %v", i, one)
		}
	}
	for n := 0; n < taken; {
		ds := receive(t, q, 1)
		n += len(ds)
		check(t, q.Ack(soon(t), ds...))
	}
	outcome := make(chan error, 1)
	go func() { outcome <- p.Publish(soon(t), messaging.Message{ID: "waited"}) }()
	tool("set_vm_memory_high_watermark", "0.6")
	check(t, <-outcome)
	for came := ""; came != "waited"; {
		d := receive(t, q, 1)[0]
		came = d.ID
		check(t, q.Ack(soon(t), d))
	}

	publish(t, p, 50)
	held := receive(t, q, 10)
	restarted, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check(t, node.Restart(restarted))
	<-held[0].Lease.Lost()
	check(t, p.Publish(restarted, messaging.Message{Body: []byte{50, 0}}))
	got := map[int]bool{}
	for len(got) < 51 {
		for _, d := range receive(t, q, 1) {
			got[numberIn(d)] = true
			check(t, q.Ack(soon(t), d))
		}
	}
}
