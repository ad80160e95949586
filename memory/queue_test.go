package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func lost(d *messaging.Delivery) bool {
	select {
	case <-d.Lease.Lost():
		return true
	default:
		return false
	}
}

func TestAckIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		publish(t, pub, "", "a", "b")
		if err := sub.Ack(t.Context(), receive(t, sub, 2)...); err != nil {
			t.Fatal(err)
		}
		nothing(t, sub, 3*time.Hour)
	})
}

func TestNackComesAgainAfterItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		publish(t, pub, "", "a")
		for attempt, delay := range []time.Duration{-1, 0, time.Minute, 1000 * time.Hour} {
			d := receive(t, sub, 1)[0]
			if d.Attempt != attempt+1 || d.Redelivered != (attempt > 0) {
				t.Errorf("attempt %d, redelivered %v; want %d", d.Attempt, d.Redelivered, attempt+1)
			}
			if err := sub.Nack(t.Context(), delay, d); err != nil {
				t.Fatal(err)
			}
			if delay > 0 {
				nothing(t, sub, delay-1)
			}
		}
		time.Sleep(time.Nanosecond)
		receive(t, sub, 1)
	})
}

func TestCrashComesAgainWhenTheLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=30s")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a", "b", "c")
		ds := receive(t, sub, 3)
		time.Sleep(time.Minute)
		if err := b.Crash(sub); err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			if !lost(d) {
				t.Error("a crash does not lose the lease")
			}
		}
		if err := sub.Ack(t.Context(), ds[0]); !errors.Is(messaging.ErrorAt(err, 0), messaging.ErrClosed) {
			t.Error(err)
		}
		nothing(t, other, 30*time.Second-1)
		time.Sleep(time.Nanosecond)
		for _, d := range receive(t, other, 3) {
			if d.Attempt != 2 || !d.Redelivered {
				t.Errorf("attempt %d, redelivered %v", d.Attempt, d.Redelivered)
			}
		}
	})
}

func TestHoldEndsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&lease=30s&hold=10m&inflight=1")
		publish(t, pub, "", "a")
		d := receive(t, sub, 1)[0]
		time.Sleep(10*time.Minute - 1)
		if lost(d) {
			t.Fatal("lost before hold=")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !lost(d) {
			t.Fatal("not lost after hold=")
		}
		again := receive(t, sub, 1)[0]
		if again.Attempt != 2 {
			t.Errorf("attempt %d", again.Attempt)
		}
		if err := sub.Ack(t.Context(), d); !errors.Is(messaging.ErrorAt(err, 0), messaging.ErrLost) {
			t.Error(err)
		}
		if err := sub.Ack(t.Context(), again); err != nil {
			t.Error(err)
		}
	})
}

func TestOrderByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&order=key")
		for i := range 5 {
			publish(t, pub, "k", fmt.Sprint(i))
		}
		for i := range 5 {
			d := receive(t, sub, 1)[0]
			nothing(t, sub, time.Second)
			if string(d.Body) != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", d.Body, i)
			}
			if err := sub.Nack(t.Context(), time.Hour, d); err != nil {
				t.Fatal(err)
			}
			nothing(t, sub, time.Hour-1)
			time.Sleep(time.Nanosecond)
			if err := sub.Release(t.Context(), receive(t, sub, 1)...); err != nil {
				t.Fatal(err)
			}
			if err := sub.Ack(t.Context(), receive(t, sub, 1)...); err != nil {
				t.Fatal(err)
			}
		}
		nothing(t, sub, time.Hour)
	})
}

func TestUnorderedIsShuffled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&seed=7")
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprintf("%02d", i))
		}
		publish(t, pub, "", want...)
		got := bodies(receive(t, sub, 100))
		if slices.Equal(got, want) {
			t.Error("in order")
		}
		for i, body := range got {
			if place := slices.Index(want, body); place-i >= shuffled || i-place >= shuffled {
				t.Errorf("%s came as number %d", body, i)
			}
		}
	})
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		nothing(t, sub, time.Second)
		publish(t, pub, "", "a")
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := sub.Receive(done, 1); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		receive(t, sub, 1)
	})
}
