package messaging_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// BenchmarkConsume is an empty handler beside a bare loop of Receive and
// settle, on what was published before. bench/ has the ratios; this is for
// profiles.
func BenchmarkConsume(b *testing.B) {
	for _, kind := range []string{"queue", "stream"} {
		for _, max := range []int{1, 2, 32, 512} {
			b.Run(fmt.Sprintf("%s/bare/%d", kind, max), func(b *testing.B) { benchmarkBare(b, filled(b, kind), max) })
		}
		for _, concurrency := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/consume/%d", kind, concurrency), func(b *testing.B) { benchmarkConsume(b, filled(b, kind), concurrency) })
		}
	}
}

// filled returns a subscriber with b.N messages before it.
func filled(b *testing.B, kind string) messaging.Subscriber {
	ctx := context.Background()
	backends := messaging.Backends{"mem": &memory.Backend{Kind: kind, Inflight: 1024}}
	url := "mem://bench?kind=" + kind
	pub, err := backends.OpenPublisher(ctx, url)
	if err != nil {
		b.Fatal(err)
	}
	sub, err := backends.OpenSubscriber(ctx, url+"&group=g")
	if err != nil {
		b.Fatal(err)
	}
	ms := make([]messaging.Message, 100)
	for i := range ms {
		ms[i].Body = make([]byte, 128)
	}
	for i := 0; i < b.N; i += len(ms) {
		if err := pub.Publish(ctx, ms[:min(len(ms), b.N-i)]...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	return sub
}

func benchmarkBare(b *testing.B, sub messaging.Subscriber, max int) {
	defer sub.Close()
	ctx := context.Background()
	settle := func(ds []*messaging.Delivery) error { return sub.(messaging.QueueSubscriber).Ack(ctx, ds...) }
	if s, ok := sub.(messaging.StreamSubscriber); ok {
		settle = func(ds []*messaging.Delivery) error { return s.Commit(ctx, ds...) }
	}
	for n := 0; n < b.N; {
		ds, err := sub.Receive(ctx, max)
		if err != nil {
			b.Fatal(err)
		}
		n += len(ds)
		if err := settle(ds); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkConsume(b *testing.B, sub messaging.Subscriber, concurrency int) {
	defer sub.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var n atomic.Int64
	err := messaging.Consume(ctx, sub, func(context.Context, *messaging.Delivery) error {
		if n.Add(1) == int64(b.N) {
			cancel()
		}
		return nil
	}, &messaging.ConsumeOptions{Concurrency: concurrency})
	if err != nil {
		b.Fatal(err)
	}
}
