package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func openStream(tb testing.TB, b *Backend, rawURL string) messaging.StreamSubscriber {
	tb.Helper()
	s, err := b.OpenStream(context.Background(), parse(tb, rawURL))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func commit(tb testing.TB, s messaging.StreamSubscriber, ds ...*messaging.Delivery) {
	tb.Helper()
	if err := s.Commit(context.Background(), ds...); err != nil {
		tb.Fatal(err)
	}
}

func TestStreamSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		s1 := openStream(t, b, "mem://s?group=g")
		for i := range 1000 {
			publish(t, pub, fmt.Sprint("key", i%10), fmt.Sprint(i))
		}
		ds := receive(t, s1, 100)
		commit(t, s1, ds...)
		s2 := openStream(t, b, "mem://s?group=g")
		n := 100
		seen := map[string]int{}
		for n < 1000 {
			for _, s := range []messaging.StreamSubscriber{s1, s2} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				ds, err := s.Receive(ctx, 100)
				cancel()
				if errors.Is(err, context.DeadlineExceeded) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range ds {
					seen[d.Partition]++
				}
				n += len(ds)
				commit(t, s, ds...)
			}
		}
		alone := openStream(t, b, "mem://s?end=now")
		n = 0
		for {
			ds, err := alone.Receive(t.Context(), 300)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n += len(ds)
			commit(t, alone, ds...)
		}
		if n != 1000 {
			t.Error(n)
		}
	})
}
