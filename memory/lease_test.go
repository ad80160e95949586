package memory

import (
	"context"
	"errors"
	"fmt"
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

func TestHoldShorterThanTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&lease=10m&hold=1m")
		publish(t, pub, "", "a")
		d := receive(t, sub, 1)[0]
		time.Sleep(time.Minute)
		synctest.Wait()
		if !lost(d) {
			t.Fatal("not lost after hold=")
		}
		nothing(t, sub, 9*time.Minute-1) // the broker has given it away for 10 minutes
		time.Sleep(time.Nanosecond)
		receive(t, sub, 1)
	})
}

// Each message has a time of its own, and the subscriber need not ask.
func TestHoldCountsFromEachReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{Lease: time.Second, Hold: 10 * time.Minute}
		pub, sub := open(t, b, "mem://q?kind=queue")
		other := openQueue(t, b, "mem://q")
		var ds []*messaging.Delivery
		for i := range 5 {
			publish(t, pub, "", fmt.Sprint(i))
			ds = append(ds, receive(t, sub, 1)...)
			time.Sleep(time.Minute)
		}
		if err := sub.Ack(t.Context(), ds[1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		for i, d := range ds {
			synctest.Wait()
			if i == 1 {
				time.Sleep(time.Minute)
				continue
			}
			if !lost(d) {
				t.Errorf("number %d is not lost", i)
			}
			if got := receive(t, other, 1)[0]; string(got.Body) != fmt.Sprint(i) {
				t.Errorf("got %s as number %d", got.Body, i)
			}
			nothing(t, other, time.Minute-1)
			time.Sleep(time.Nanosecond)
		}
	})
}

func TestLeaseIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=1s&hold=1000h")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a")
		d := receive(t, sub, 1)[0]
		if got := sub.Capabilities().Lease; got != time.Second {
			t.Errorf("Lease is %v", got)
		}
		nothing(t, other, 999*time.Hour)
		if lost(d) {
			t.Error("lost")
		}
		if err := sub.Ack(t.Context(), d); err != nil {
			t.Error(err)
		}
	})
}

// Nobody needs to be there when a lease ends.
func TestCrashOfTheOnlySubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=30s")
		publish(t, pub, "", "a", "b")
		if err := sub.Nack(t.Context(), 10*time.Second, receive(t, sub, 1)...); err != nil {
			t.Fatal(err)
		}
		receive(t, sub, 1)
		if err := b.Crash(sub); err != nil {
			t.Fatal(err)
		}
		if err := b.Crash(sub); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		early := openQueue(t, b, "mem://q")
		receive(t, early, 1) // that of the nack
		nothing(t, early, 10*time.Second-1)
		if err := early.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		late := openQueue(t, b, "mem://q")
		for _, d := range receive(t, late, 2) {
			if d.Attempt != 2 || !d.Redelivered {
				t.Errorf("attempt %d, redelivered %v", d.Attempt, d.Redelivered)
			}
		}
	})
}

func TestCrashedSubscriberIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=30s")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a")
		ds := receive(t, sub, 1)
		if err := b.Crash(sub); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Receive(t.Context(), 1); !errors.Is(err, messaging.ErrClosed) {
			t.Error(err)
		}
		for _, verb := range verbs { // a Release too: nobody has done it
			wantAt(t, settles(sub)[verb](t.Context(), ds...), messaging.ErrClosed)
		}
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		nothing(t, other, 30*time.Second-1) // and Close gives nothing back
		time.Sleep(time.Nanosecond)
		receive(t, other, 1)
	})
}

func TestZombieLosesItsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=30s")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a", "b")
		ds := receive(t, sub, 2)
		time.Sleep(time.Hour / 2)
		thaw, err := b.Freeze(sub)
		if err != nil {
			t.Fatal(err)
		}
		nothing(t, other, 30*time.Second-1)
		time.Sleep(time.Nanosecond)
		others := receive(t, other, 2)
		for i, d := range others {
			if d.Attempt != 2 || !d.Redelivered {
				t.Errorf("attempt %d, redelivered %v", d.Attempt, d.Redelivered)
			}
			if lost(ds[i]) {
				t.Error("a frozen subscriber knows that its lease ended")
			}
		}
		thaw()
		thaw()
		if !lost(ds[0]) || !lost(ds[1]) {
			t.Error("the leases are not lost after the thaw")
		}
		wantAt(t, sub.Ack(t.Context(), ds...), messaging.ErrLost, messaging.ErrLost)
		wantAt(t, other.Ack(t.Context(), others...), nil, nil)
		publish(t, pub, "", "c") // it is a subscriber like any other again
		d := receive(t, sub, 1)[0]
		time.Sleep(time.Hour - time.Nanosecond)
		if lost(d) {
			t.Error("the new lease ended with the old ones")
		}
	})
}

func TestZombieThatWakesInTimeKeepsItsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=30s&hold=10m")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a", "b")
		ds := receive(t, sub, 2)
		for range 3 {
			thaw, err := b.Freeze(sub)
			if err != nil {
				t.Fatal(err)
			}
			thaw2, err := b.Freeze(sub)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			thaw2()
			time.Sleep(9 * time.Second)
			thaw()
		}
		nothing(t, other, time.Minute)
		if err := sub.Ack(t.Context(), ds[0]); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute) // hold= still ends
		synctest.Wait()
		if !lost(ds[1]) {
			t.Error("not lost after hold=")
		}
	})
}

func TestZombiesCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=30s")
		publish(t, pub, "", "a")
		d := receive(t, sub, 1)[0]
		received := make(chan error, 2)
		receiveOne := func() {
			_, err := sub.Receive(t.Context(), 1)
			received <- err
		}
		go receiveOne() // one that waits already
		synctest.Wait()
		thaw, err := b.Freeze(sub)
		if err != nil {
			t.Fatal(err)
		}
		go receiveOne()
		publish(t, pub, "", "b", "c")
		acked := make(chan error, 1)
		go func() { acked <- sub.Ack(t.Context(), d) }()
		nothing(t, sub, 10*time.Second)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantAt(t, sub.Nack(short, 0, d), context.DeadlineExceeded)
		if len(received) > 0 || len(acked) > 0 {
			t.Error("a call of a frozen subscriber returned")
		}
		other := openQueue(t, b, "mem://q")
		if err := other.Release(t.Context(), receive(t, other, 2)...); err != nil {
			t.Error(err)
		}
		thaw()
		for range 2 {
			if err := <-received; err != nil {
				t.Error(err)
			}
		}
		if err := <-acked; err != nil {
			t.Error(err)
		}
	})
}

// A Receive goes on when its subscriber thaws, and nothing else happens.
func TestZombiesReceiveGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		thaw, err := b.Freeze(sub)
		if err != nil {
			t.Fatal(err)
		}
		received := make(chan error, 1)
		go func() {
			_, err := sub.Receive(t.Context(), 1)
			received <- err
		}()
		publish(t, pub, "", "a")
		synctest.Wait()
		if len(received) > 0 {
			t.Error("received while frozen")
		}
		thaw()
		if err := <-received; err != nil {
			t.Error(err)
		}
	})
}

func TestFreezeDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		publish(t, pub, "", "a")
		d := receive(t, sub, 1)[0]
		resume := b.Pause()
		acked := make(chan error, 1)
		go func() { acked <- sub.Ack(t.Context(), d) }()
		synctest.Wait()
		thaw, err := b.Freeze(sub)
		if err != nil {
			t.Fatal(err)
		}
		resume()
		time.Sleep(time.Second)
		if len(acked) > 0 {
			t.Error("acknowledged while frozen")
		}
		thaw()
		if err := <-acked; err != nil {
			t.Error(err)
		}
	})
}

// hold= that passed in the meantime has passed.
func TestHoldEndsWhileFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&lease=1h&hold=1h")
		publish(t, pub, "", "a")
		d := receive(t, sub, 1)[0]
		time.Sleep(time.Hour - time.Minute)
		thaw, err := b.Freeze(sub)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if lost(d) {
			t.Error("lost while frozen")
		}
		thaw()
		synctest.Wait()
		if !lost(d) {
			t.Error("not lost after hold=")
		}
	})
}

// The leases of several who crashed end one after the other.
func TestSeveralCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://q?kind=queue")
		other := openQueue(t, b, "mem://q")
		for i := range 4 {
			sub := openQueue(t, b, "mem://q?lease=30s")
			publish(t, pub, "", fmt.Sprint(i))
			receive(t, sub, 1)
			if err := b.Crash(sub); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		time.Sleep(10*time.Second - time.Nanosecond)
		for i := range 4 {
			time.Sleep(time.Nanosecond)
			if d := receive(t, other, 1)[0]; string(d.Body) != fmt.Sprint(i) {
				t.Errorf("%s came as number %d", d.Body, i)
			}
			nothing(t, other, 5*time.Second-time.Nanosecond)
		}
		if n := len(other.(*queue).s.queues); n != 1 {
			t.Errorf("%d subscribers are remembered", n)
		}
	})
}

// A message that was promised to a Receive when its subscriber froze goes to
// somebody else.
func TestZombieLeavesWhatItWasPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		sub := openQueue(t, b, "mem://q?kind=queue")
		other := openQueue(t, b, "mem://q")
		for range 2 {
			go func() {
				if _, err := sub.Receive(t.Context(), 1); !errors.Is(err, messaging.ErrClosed) {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		promise(t, sub)
		if _, err := b.Freeze(sub); err != nil {
			t.Fatal(err)
		}
		receive(t, other, 1)
		if err := sub.Close(); err != nil { // ends a frozen one, too
			t.Error(err)
		}
	})
}

func TestCloseAndCrashOfAZombie(t *testing.T) {
	for _, end := range []string{"close", "crash"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub, sub := open(t, b, "mem://q?kind=queue&lease=30s")
			other := openQueue(t, b, "mem://q")
			publish(t, pub, "", "a")
			d := receive(t, sub, 1)[0]
			thaw, err := b.Freeze(sub)
			if err != nil {
				t.Fatal(err)
			}
			acked := make(chan error)
			go func() { acked <- sub.Ack(context.Background(), d) }()
			time.Sleep(10 * time.Second)
			if end == "close" {
				err = sub.Close()
			} else {
				err = b.Crash(sub)
			}
			if err != nil {
				t.Fatal(err)
			}
			wantAt(t, <-acked, messaging.ErrClosed)
			if !lost(d) {
				t.Error("the lease is not lost")
			}
			if end == "crash" {
				nothing(t, other, 20*time.Second-1)
				time.Sleep(time.Nanosecond)
			}
			receive(t, other, 1)
			thaw()
		})
	}
}

func TestHooksRefuseOthers(t *testing.T) {
	b := new(Backend)
	for _, s := range []messaging.Subscriber{nil, struct{ messaging.Subscriber }{}} {
		if err := b.Crash(s); err == nil {
			t.Errorf("crash of %T", s)
		}
		if _, err := b.Freeze(s); err == nil {
			t.Errorf("freeze of %T", s)
		}
	}
}
