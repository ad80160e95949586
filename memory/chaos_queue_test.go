package memory

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestChaosDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, &Backend{Chaos: Chaos{Duplicate: 1}}, "mem://q?kind=queue&seed=1")
		publish(t, pub, "", "a", "b", "c")
		ds := receive(t, sub, 6)
		seen := map[string]int{}
		for _, d := range ds {
			if d.Attempt != 1 || d.Redelivered != (seen[d.ID] > 0) {
				t.Errorf("attempt %d, redelivered %v, seen %d times", d.Attempt, d.Redelivered, seen[d.ID])
			}
			seen[d.ID]++
		}
		// Attempts are those of the message, whichever copy failed.
		if err := sub.Nack(t.Context(), 0, ds...); err != nil {
			t.Fatal(err)
		}
		ds = receive(t, sub, 6)
		for _, d := range ds {
			if d.Attempt != 3 || seen[d.ID] != 2 {
				t.Errorf("attempt %d after two nacks", d.Attempt)
			}
		}
		if err := sub.Ack(t.Context(), ds...); err != nil {
			t.Fatal(err)
		}
		nothing(t, sub, time.Hour)
		if n := len(sub.(*queue).s.twins); n != 0 {
			t.Errorf("%d messages are remembered", n)
		}
	})
}

func TestChaosSparesKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{Chaos: Chaos{Duplicate: 1, Reorder: 1}}
		pub, sub := open(t, b, "mem://q?kind=queue&order=key")
		publish(t, pub, "k", "0", "1", "2")
		for i := range 3 {
			d := receive(t, sub, 1)[0]
			if string(d.Body) != fmt.Sprint(i) {
				t.Errorf("got %s, want %d", d.Body, i)
			}
			nothing(t, sub, time.Minute)
			if err := sub.Ack(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		nothing(t, sub, time.Hour)
	})
}

func TestChaosReorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{Chaos: Chaos{Reorder: 0.5}}
		pub := openPublisher(t, b, "mem://q?kind=queue&seed=1")
		sub := openQueue(t, b, "mem://q")
		for i := range 1000 {
			publish(t, pub, "", fmt.Sprint(i))
		}
		sub2, farthest := openQueue(t, b, "mem://q?inflight=2000"), 0
		start := time.Now()
		for place, d := range receive(t, sub2, 1000) {
			var i int
			fmt.Sscan(string(d.Body), &i)
			farthest = max(farthest, place-i)
			if d.Attempt != 1 || d.Redelivered {
				t.Errorf("attempt %d, redelivered %v", d.Attempt, d.Redelivered)
			}
		}
		if took := time.Since(start); took > time.Second || farthest < 100 {
			t.Errorf("after %v, %d places late at most", took, farthest)
		}
		nothing(t, sub, time.Minute)
	})
}

// Nobody needs to do anything for a message that is held back to arrive.
func TestChaosReorderEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, &Backend{Chaos: Chaos{Reorder: 1}}, "mem://q?kind=queue")
		received := make(chan error)
		go func() {
			_, err := sub.Receive(t.Context(), 1)
			received <- err
		}()
		synctest.Wait()
		start := time.Now()
		publish(t, pub, "", "a")
		if err := <-received; err != nil || time.Since(start) > time.Second {
			t.Error(err, time.Since(start))
		}
	})
}

func TestChaosExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{Chaos: Chaos{Expire: 1}}
		pub, sub := open(t, b, "mem://q?kind=queue&seed=1&lease=1m&hold=10h&inflight=1")
		publish(t, pub, "", "a", "b")
		ds := receive(t, sub, 1)
		start := time.Now()
		waiting := make(chan *messaging.Delivery, 1)
		go func() { // for its place in the window
			ds, err := sub.Receive(t.Context(), 1)
			if err != nil {
				t.Error(err)
			}
			waiting <- ds[0]
		}()
		synctest.Wait()
		hit := b.SetChaos(Chaos{})
		if hit != 1 {
			t.Errorf("%d faults happened, want 1", hit)
		}
		<-ds[0].Lease.Lost()
		if took := time.Since(start); took >= time.Minute || took == 0 {
			t.Errorf("lost after %v", took)
		}
		other := <-waiting
		wantAt(t, sub.Ack(t.Context(), ds[0]), messaging.ErrLost)
		if other.ID == ds[0].ID {
			t.Fatalf("delivered again after %v, before its lease was over", time.Since(start))
		}
		if err := sub.Ack(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		nothing(t, sub, time.Until(start.Add(time.Minute))-1)
		time.Sleep(time.Nanosecond)
		again := receive(t, sub, 1)[0]
		if again.Attempt != 2 {
			t.Errorf("attempt %d", again.Attempt)
		}
		nothing(t, sub, time.Hour)
		if err := sub.Ack(t.Context(), again); err != nil {
			t.Errorf("it was lost again: %v", err)
		}
	})
}

// One seed makes the same faults again.
func TestChaosIsDeterministic(t *testing.T) {
	run := func(seed int) (log string) {
		synctest.Test(t, func(t *testing.T) {
			b := &Backend{Chaos: Chaos{Duplicate: 0.2, Reorder: 0.2, LostReply: 0.2, Expire: 0.2}}
			pub, sub := open(t, b, fmt.Sprintf("mem://q?kind=queue&retry=none&lease=10s&seed=%d", seed))
			start := time.Now()
			for i := range 100 {
				err := pub.Publish(t.Context(), message(fmt.Sprint(i)))
				log += fmt.Sprintln(i, errors.Is(err, messaging.ErrUncertain))
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if i%3 == 0 {
					d := receive(t, sub, 1)[0]
					err := sub.Ack(t.Context(), d)
					log += fmt.Sprintln(d.ID, d.Attempt, d.Redelivered, time.Since(start), err)
				}
			}
		})
		return log
	}
	first, again, other := run(1), run(1), run(2)
	if first != again {
		t.Error("one seed, two stories")
	}
	if first == other {
		t.Error("two seeds, one story")
	}
}
