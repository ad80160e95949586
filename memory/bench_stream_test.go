package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// BenchmarkStream is publish, receive and commit of one message, published one
// a call and received in batches, by so many producers and group members at
// once.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{128, 1024} {
		for _, n := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dB/%dto%d", size, n, n), func(b *testing.B) { benchmarkStream(b, size, n) })
		}
	}
}

func benchmarkStream(b *testing.B, size, n int) {
	b.ReportAllocs()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	backend := new(Backend)
	pub := openPublisher(b, backend, "mem://bench?kind=stream&partitions=16")
	var received atomic.Int64
	var wg sync.WaitGroup
	for range n {
		sub := openStream(b, backend, "mem://bench?group=g")
		wg.Go(func() {
			for {
				ds, err := sub.Receive(ctx, 64)
				if err != nil {
					return
				}
				if err := sub.Commit(ctx, ds...); err != nil {
					b.Error(err)
				}
				if received.Add(int64(len(ds))) == int64(b.N) {
					cancel()
				}
			}
		})
	}
	body := make([]byte, size)
	keys := benchKeys()
	var sent atomic.Int64
	b.ResetTimer()
	defer cpu(b)()
	for range n {
		wg.Go(func() {
			for {
				i := sent.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := pub.Publish(context.Background(), messaging.Message{Key: keys[i%int64(len(keys))], Body: body}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func benchKeys() []string {
	var keys []string
	for i := range 1024 {
		keys = append(keys, fmt.Sprint("customer-", i))
	}
	return keys
}

// BenchmarkStreamTurns is the same in one goroutine, by turns, with so many
// messages outstanding: published and not received, or received and not
// committed.
func BenchmarkStreamTurns(b *testing.B) {
	for _, outstanding := range []int{0, 1_000, 1_000_000} {
		b.Run(fmt.Sprint("backlog=", outstanding), func(b *testing.B) { benchmarkTurns(b, 128, outstanding, 0) })
	}
	// So small that a million fit the window's 64 MiB.
	for _, outstanding := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint("uncommitted=", outstanding), func(b *testing.B) { benchmarkTurns(b, 16, outstanding, outstanding) })
	}
}

func benchmarkTurns(b *testing.B, size, outstanding, uncommitted int) {
	const batch = 64
	b.ReportAllocs()
	ctx := context.Background()
	backend := new(Backend)
	pub := openPublisher(b, backend, "mem://bench?kind=stream&partitions=16")
	sub := openStream(b, backend, "mem://bench?group=g&inflight=1000000")
	body := make([]byte, size)
	var held []*messaging.Delivery
	publish := func(n int) {
		for range n {
			if err := pub.Publish(ctx, messaging.Message{Body: body}); err != nil {
				b.Fatal(err)
			}
		}
	}
	// turn receives a batch and commits what is too old to be held.
	turn := func() int {
		ds, err := sub.Receive(ctx, batch)
		if err != nil {
			b.Fatal(err)
		}
		held = append(held, ds...)
		if n := len(held) - uncommitted; n > 0 {
			if err := sub.Commit(ctx, held[:n]...); err != nil {
				b.Fatal(err)
			}
			clear(held[:n])
			held = held[n:]
		}
		return len(ds)
	}
	publish(outstanding)
	for len(held) < uncommitted {
		turn()
	}
	b.ResetTimer()
	defer cpu(b)()
	for n := 0; n < b.N; {
		publish(batch)
		n += turn()
	}
}

// BenchmarkStreamHandOver is the time from Publish to the return of a Receive
// that waited, beside that of a bare channel.
func BenchmarkStreamHandOver(b *testing.B) {
	b.Run("channel", func(b *testing.B) {
		ch := make(chan time.Time)
		benchmarkHandOver(b, func(sent time.Time) { ch <- sent }, func() (time.Time, error) { return <-ch, nil })
	})
	b.Run("stream", func(b *testing.B) {
		ctx := context.Background()
		backend := new(Backend)
		pub := openPublisher(b, backend, "mem://bench?kind=stream&partitions=1")
		sub := openStream(b, backend, "mem://bench?group=g")
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
			return sent, sub.Commit(ctx, ds...)
		})
	})
}

func benchmarkHandOver(b *testing.B, send func(time.Time), receive func() (time.Time, error)) {
	took := make([]time.Duration, 0, b.N)
	received := make(chan struct{})
	go func() {
		defer close(received)
		for range b.N {
			sent, err := receive()
			took = append(took, time.Since(sent))
			if err != nil {
				b.Error(err)
				return
			}
			received <- struct{}{}
		}
	}()
	b.ResetTimer()
	for range b.N {
		send(time.Now())
		<-received
	}
	<-received
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}
