package memory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// BenchmarkQueue is publish, receive and ack of one message, published one a
// call and received in batches.
func BenchmarkQueue(b *testing.B) {
	for _, order := range []string{"unordered", "key"} {
		for _, size := range []int{128, 1024} {
			for _, n := range []int{1, 16} {
				b.Run(fmt.Sprintf("order=%s/%dB/%dto%d", order, size, n, n), func(b *testing.B) {
					benchmarkQueue(b, "mem://bench?kind=queue&order="+order, size, n)
				})
			}
		}
	}
}

func benchmarkQueue(b *testing.B, rawURL string, size, n int) {
	b.ReportAllocs()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	backend := new(Backend)
	pub := openPublisher(b, backend, rawURL)
	var received atomic.Int64
	var wg sync.WaitGroup
	for range n {
		sub := openQueue(b, backend, rawURL)
		wg.Go(func() {
			for {
				ds, err := sub.Receive(ctx, 64)
				if err != nil {
					return
				}
				if err := sub.Ack(ctx, ds...); err != nil {
					b.Error(err)
				}
				if received.Add(int64(len(ds))) == int64(b.N) {
					cancel()
				}
			}
		})
	}
	body := make([]byte, size)
	var sent atomic.Int64
	b.ResetTimer()
	defer cpu(b)()
	for range n {
		wg.Go(func() {
			for sent.Add(1) <= int64(b.N) {
				if err := pub.Publish(context.Background(), messaging.Message{Body: body}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// cpu reports what a message costs in processor time of this process: with
// several cores, and beside other work, that is the steadier number. Call it
// when the clock starts, and its result at the end.
func cpu(b *testing.B) (report func()) {
	start := processorTime(b)
	return func() { b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkBacklog is the same with so many messages outstanding, by turns.
func BenchmarkBacklog(b *testing.B) {
	for _, outstanding := range []int{1, 1_000, 1_000_000} {
		b.Run(fmt.Sprint(outstanding), func(b *testing.B) {
			b.ReportAllocs()
			ctx := context.Background()
			pub, sub := open(b, new(Backend), "mem://bench?kind=queue")
			body := make([]byte, 128)
			for range outstanding {
				if err := pub.Publish(ctx, messaging.Message{Body: body}); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			defer cpu(b)()
			for i := 0; i < b.N; {
				ds, err := sub.Receive(ctx, 64)
				if err != nil {
					b.Fatal(err)
				}
				if err := sub.Ack(ctx, ds...); err != nil {
					b.Fatal(err)
				}
				for range ds {
					if err := pub.Publish(ctx, messaging.Message{Body: body}); err != nil {
						b.Fatal(err)
					}
				}
				i += len(ds)
			}
		})
	}
}

// BenchmarkQueueHandOver is the time from Publish to the return of a Receive
// that waited, beside that of a bare channel.
func BenchmarkQueueHandOver(b *testing.B) {
	b.Run("channel", func(b *testing.B) {
		ch := make(chan time.Time)
		benchmarkHandOver(b, func(sent time.Time) { ch <- sent }, func() (time.Time, error) { return <-ch, nil })
	})
	b.Run("queue", func(b *testing.B) {
		ctx := context.Background()
		pub, sub := open(b, new(Backend), "mem://bench?kind=queue")
		body := make([]byte, 128)
		var sent time.Time
		benchmarkHandOver(b, func(now time.Time) {
			sent = now
			if err := pub.Publish(ctx, messaging.Message{Body: body}); err != nil {
				b.Error(err)
			}
		}, func() (time.Time, error) {
			ds, err := sub.Receive(ctx, 64)
			if err != nil {
				return sent, err
			}
			return sent, sub.Ack(ctx, ds...)
		})
	})
}
