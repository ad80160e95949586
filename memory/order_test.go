package memory

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// Whatever happens to the first message of a key, the second waits for it.
func TestKeyWaitsForItsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, first := open(t, b, "mem://q?kind=queue&order=key&lease=30s&hold=10m")
		second := openQueue(t, b, "mem://q?lease=30s")
		if got := second.Capabilities().Order; got != messaging.OrderedByKey {
			t.Errorf("order is %v", got)
		}
		publish(t, pub, "k", "0", "1", "2")
		attempt, redelivered := 0, false
		next := func(sub messaging.QueueSubscriber, after time.Duration) *messaging.Delivery {
			t.Helper()
			if after > 0 {
				nothing(t, first, after-2)
				nothing(t, second, time.Nanosecond)
			}
			d := receive(t, sub, 1)[0]
			if string(d.Body) != "0" || d.Attempt != attempt+1 || d.Redelivered != redelivered {
				t.Fatalf("got %s, attempt %d, redelivered %v", d.Body, d.Attempt, d.Redelivered)
			}
			redelivered = true
			return d
		}
		d := next(first, 0)
		nothing(t, first, time.Second)
		nothing(t, second, time.Second)
		if err := first.Nack(t.Context(), time.Minute, d); err != nil {
			t.Fatal(err)
		}
		attempt++
		d = next(second, time.Minute)
		if err := second.Release(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		next(first, 0) // kept until it is lost
		attempt++
		next(first, 10*time.Minute)
		if err := b.Crash(first); err != nil {
			t.Fatal(err)
		}
		first = openQueue(t, b, "mem://q?lease=30s")
		attempt++
		next(first, 30*time.Second)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		first = openQueue(t, b, "mem://q?lease=30s")
		d = next(first, 0)
		thaw, err := b.Freeze(first)
		if err != nil {
			t.Fatal(err)
		}
		nothing(t, second, 30*time.Second-1)
		attempt++
		time.Sleep(time.Nanosecond)
		d2 := next(second, 0)
		thaw()
		wantAt(t, first.Ack(t.Context(), d), messaging.ErrLost)
		nothing(t, first, time.Second)
		if err := second.Ack(t.Context(), d2); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1", "2"} {
			d := receive(t, first, 1)[0]
			if string(d.Body) != want || d.Attempt != 1 || d.Redelivered {
				t.Errorf("got %s, attempt %d, want %s", d.Body, d.Attempt, want)
			}
			nothing(t, second, time.Second)
			if err := first.Ack(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		nothing(t, first, time.Hour)
	})
}

func TestKeysDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&order=key")
		publish(t, pub, "", "x", "y", "z")
		publish(t, pub, "a", "a0", "a1")
		publish(t, pub, "b", "b0")
		publish(t, pub, "a", "a2")
		publish(t, pub, "c", "c0")
		got := bodies(receive(t, sub, 6))
		slices.Sort(got)
		if want := []string{"a0", "b0", "c0", "x", "y", "z"}; !slices.Equal(got, want) {
			t.Errorf("received %v, want %v", got, want)
		}
		nothing(t, sub, time.Minute)
	})
}

// Keys that have no message are forgotten after a while, those that have are
// not.
func TestManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&order=key")
		turn := func(key, body string) {
			t.Helper()
			publish(t, pub, key, body)
			d := receive(t, sub, 1)[0]
			if string(d.Body) != body {
				t.Fatalf("got %s, want %s", d.Body, body)
			}
			if err := sub.Ack(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		others := func() {
			t.Helper()
			for i := range 3 * mostIdle {
				turn(fmt.Sprint("other", i), fmt.Sprint(i))
			}
		}
		lanes := sub.(*queue).s.lanes
		turn("k", "0")
		publish(t, pub, "k", "1", "2")
		held := receive(t, sub, 1)[0]
		others()
		publish(t, pub, "k", "3")
		for _, want := range []string{"1", "2", "3"} {
			if string(held.Body) != want {
				t.Errorf("got %s, want %s", held.Body, want)
			}
			nothing(t, sub, time.Second)
			if err := sub.Ack(t.Context(), held); err != nil {
				t.Fatal(err)
			}
			if want != "3" {
				held = receive(t, sub, 1)[0]
			}
		}
		others()
		if len(lanes) > mostIdle || lanes["k"] != nil {
			t.Errorf("%d keys are remembered, k is one of them: %v", len(lanes), lanes["k"] != nil)
		}
		turn("k", "4")
		for i := range 3 * mostIdle {
			turn("busy", fmt.Sprint(i))
		}
		if lanes["k"] == nil {
			t.Error("one busy key made the others forgotten")
		}
	})
}

func TestManyOfOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&order=key")
		for i := range 2000 {
			publish(t, pub, fmt.Sprint(i%3), fmt.Sprint(i))
		}
		next := []int{0, 1, 2}
		for n := 0; n < 2000; {
			ds := receive(t, sub, min(3, 2000-n))
			for _, d := range ds {
				i := n % 3
				fmt.Sscan(d.Key, &i)
				if string(d.Body) != fmt.Sprint(next[i]) {
					t.Fatalf("key %s: got %s, want %d", d.Key, d.Body, next[i])
				}
				next[i] += 3
			}
			if err := sub.Ack(t.Context(), ds...); err != nil {
				t.Fatal(err)
			}
			n += len(ds)
		}
		if n := len(sub.(*queue).s.lanes); n > mostIdle {
			t.Errorf("%d keys are remembered without a message", n)
		}
	})
}

func TestUnorderedIsShuffled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprintf("%02d", i))
		}
		orders := map[string][]string{}
		for _, url := range []string{"mem://q?kind=queue&seed=7", "mem://r?kind=queue&seed=7", "mem://q?kind=queue&seed=8"} {
			pub, sub := open(t, new(Backend), url)
			if got := sub.Capabilities().Order; got != messaging.Unordered {
				t.Errorf("order is %v", got)
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
			orders[url] = got
		}
		if !slices.Equal(orders["mem://q?kind=queue&seed=7"], orders["mem://r?kind=queue&seed=7"]) {
			t.Error("one seed, two orders")
		}
		if slices.Equal(orders["mem://q?kind=queue&seed=7"], orders["mem://q?kind=queue&seed=8"]) {
			t.Error("two seeds, one order")
		}
	})
}

func TestSubscriptionKeepsItsOrder(t *testing.T) {
	b := new(Backend)
	openQueue(t, b, "mem://q?order=key")
	if _, err := b.OpenQueue(t.Context(), parse(t, "mem://q?order=unordered")); err == nil {
		t.Error("a queue that is order=key was opened with order=unordered")
	}
	if got := openQueue(t, b, "mem://q").Capabilities().Order; got != messaging.OrderedByKey {
		t.Errorf("order is %v", got)
	}
	b = &Backend{Order: messaging.OrderedByKey}
	if got := openQueue(t, b, "mem://q").Capabilities().Order; got != messaging.OrderedByKey {
		t.Errorf("order is %v", got)
	}
	if got := openQueue(t, b, "mem://q?group=g&order=unordered").Capabilities().Order; got != messaging.Unordered {
		t.Errorf("order is %v", got)
	}
	b.Order = messaging.Ordered
	if _, err := b.OpenQueue(t.Context(), parse(t, "mem://r")); err == nil || errors.Is(err, messaging.ErrNotFound) {
		t.Errorf("a queue that is Ordered: %v", err)
	}
}
