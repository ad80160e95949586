package memory

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func crash(tb testing.TB, b *Backend, s messaging.Subscriber) {
	tb.Helper()
	if err := b.Crash(s); err != nil {
		tb.Fatal(err)
	}
}

func freeze(tb testing.TB, b *Backend, s messaging.Subscriber) (thaw func()) {
	tb.Helper()
	thaw, err := b.Freeze(s)
	if err != nil {
		tb.Fatal(err)
	}
	return thaw
}

func TestStreamCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		s := openStream(t, b, "mem://s?group=g&lease=30s&handover=2m")
		publish(t, pub, "", numbers(0, 10)...)
		ds := receive(t, s, 10)
		commit(t, s, ds[0])
		crash(t, b, s)
		equal(t, "lost", closed(ds[0].Lease.Lost()), true)
		_, err := s.Receive(t.Context(), 1)
		is(t, "receive", err, messaging.ErrClosed)
		is(t, "commit", s.Commit(t.Context(), ds[1]), messaging.ErrClosed)
		is(t, "release", s.Release(t.Context(), ds[1]), messaging.ErrClosed)
		if err := s.Close(); err != nil {
			t.Error(err)
		}

		// The broker does not know: a crash is not a Close, and what would
		// move in order waits as well.
		other := openStream(t, b, "mem://s?group=g")
		nothing(t, other, 30*time.Second-1)
		again := take(t, other, 3)
		equal(t, "again", len(again), 9)
		for _, d := range again {
			equal(t, "redelivered", d.Redelivered, true)
		}
	})
}

func TestStreamCrashEndsAReceive(t *testing.T) {
	for _, url := range []string{"mem://s", "mem://s?group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			s := openStream(t, b, url)
			done := make(chan error)
			go func() {
				_, err := s.Receive(t.Context(), 1)
				done <- err
			}()
			synctest.Wait()
			begin := time.Now()
			crash(t, b, s)
			is(t, "receive", <-done, messaging.ErrClosed)
			equal(t, "time", time.Since(begin), 0)
			crash(t, b, s)
		})
	}
}

func TestStreamZombieIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		s := openStream(t, b, "mem://s?group=g&lease=30s")
		publish(t, pub, "", numbers(0, 10)...)
		ds := receive(t, s, 10)
		waiting := make(chan int)
		go func() {
			got, err := s.Receive(t.Context(), 100)
			if err != nil {
				t.Error(err)
			}
			waiting <- len(got)
		}()
		synctest.Wait()
		thaw := freeze(t, b, s)
		publish(t, pub, "", numbers(10, 12)...)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		is(t, "commit", s.Commit(ctx, ds[0]), context.DeadlineExceeded)
		is(t, "release", s.Release(ctx, ds[0]), context.DeadlineExceeded)
		other := openStream(t, b, "mem://s?group=g")
		nothing(t, other, 10*time.Second-1) // the bound of handing over
		taken := take(t, other, 100)
		equal(t, "what was to move anyway", len(taken), 6)
		nothing(t, other, 18*time.Second-1)
		taken = append(taken, take(t, other, 100)...)
		equal(t, "all", len(taken), 12)
		commit(t, other, taken...)
		equal(t, "lost while frozen", closed(ds[0].Lease.Lost()), false)
		equal(t, "ending while frozen", closed(ds[0].Lease.Ending()), false)

		late := make(chan error)
		go func() { late <- s.Commit(t.Context(), ds...) }()
		synctest.Wait()
		thaw()
		thaw()
		err := <-late
		for i, d := range ds {
			is(t, "commit "+strconv.Itoa(i), messaging.ErrorAt(err, i), messaging.ErrLost)
			equal(t, "lost", closed(d.Lease.Lost()), true)
		}
		// It joins again, and goes on with what its group has not done.
		publish(t, pub, "", numbers(12, 20)...)
		equal(t, "of 8 to the other", len(take(t, other, 100)), 4)
		equal(t, "of 8 to the zombie", <-waiting+len(take(t, s, 100)), 4)
	})
}

func TestStreamThatThawsInTimeLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g&lease=30s")
		publish(t, pub, "", "0", "1")
		d := receive(t, s, 1)[0]
		for range 3 {
			thaw := freeze(t, b, s)
			time.Sleep(30*time.Second - 1)
			thaw()
			time.Sleep(time.Second)
		}
		equal(t, "lost", closed(d.Lease.Lost()), false)
		commit(t, s, d)
		equal(t, "next", places(receive(t, s, 1)), "0/1")
	})
}

func TestStreamThatFreezesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g&lease=30s&handover=1h")
		publish(t, pub, "", "0")
		receive(t, s, 1)
		thaw := freeze(t, b, s)
		time.Sleep(20 * time.Second)
		thaw()
		s.(*stream).g.expel(s.(*stream)) // as a timer does that fires late
		defer freeze(t, b, s)()
		other := openStream(t, b, "mem://s?group=g")
		nothing(t, other, 30*time.Second-1)
		equal(t, "30 s after it froze again", places(receive(t, other, 1)), "0/0")
	})
}

func TestStreamThatThawsAfterItsPartitionWasToMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		s := openStream(t, b, "mem://s?group=g&lease=30s&handover=1m")
		thaw := freeze(t, b, s)
		other := openStream(t, b, "mem://s?group=g")
		publish(t, pub, "", numbers(0, 10)...)
		nothing(t, other, 20*time.Second) // nothing is in hand, but it does not say so
		thaw()
		equal(t, "the other's", len(take(t, other, 10)), 5)
		equal(t, "its own", len(take(t, s, 10)), 5)
	})
}

func TestStreamAloneCanFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s")
		publish(t, pub, "", "0", "1")
		d := receive(t, s, 1)[0]
		thaw := freeze(t, b, s)
		nothing(t, s, time.Hour)
		thaw()
		commit(t, s, d)
		equal(t, "next", places(receive(t, s, 1)), "0/1")
	})
}

func TestStreamCloseWhileFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g&lease=30s")
		publish(t, pub, "", "0")
		d := receive(t, s, 1)[0]
		thaw := freeze(t, b, s)
		done := make(chan error)
		go func() { done <- s.Commit(t.Context(), d) }()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		is(t, "commit", <-done, messaging.ErrClosed)
		equal(t, "lost", closed(d.Lease.Lost()), true)
		equal(t, "next", places(receive(t, openStream(t, b, "mem://s?group=g"), 1)), "0/0")
		thaw()
	})
}
