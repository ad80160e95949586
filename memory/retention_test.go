package memory

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/fa5182d2/messaging"
)

// extent returns how many records and bytes a stream holds.
func extent(tb testing.TB, b *Backend, name string) (records int64, bytes int) {
	tb.Helper()
	l, err := b.logOf(name)
	if err != nil {
		tb.Fatal(err)
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for _, p := range l.parts {
		records += p.end.Load() - p.first.Load()
		for _, g := range p.segments {
			bytes += g.used
		}
	}
	return records, bytes
}

// publishKiB publishes n messages of 1 KiB.
func publishKiB(tb testing.TB, pub messaging.Publisher, n int) {
	tb.Helper()
	body := make([]byte, 1000)
	for range n {
		if err := pub.Publish(tb.Context(), messaging.Message{ID: "1", Body: body}); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestRetentionBeforeAnybodySubscribed(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://s?retain=100000")
	publishKiB(t, pub, 1000)
	n, _ := extent(t, b, "s")
	equal(t, "records", n, 1000)
	openStream(t, b, "mem://s?start=latest")
	publishKiB(t, pub, 1000)
	if n, bytes := extent(t, b, "s"); n < 100 || bytes > 100_000+5*mostSegment {
		t.Errorf("%d records of %d bytes", n, bytes)
	}
}

func TestRetentionWaitsForTheFirstGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?retain=0&partitions=2")
		publishKiB(t, pub, 1000)
		s := openStream(t, b, "mem://s?group=g")
		publishKiB(t, pub, 1000)
		replayAll(t, s, 2000)
	})
}

func TestRetentionIsOfWhatEveryGroupHasCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?retain=200000&partitions=2")
		fast, slow := openStream(t, b, "mem://s?group=fast"), openStream(t, b, "mem://s?group=slow")
		openStream(t, b, "mem://s?group=idle&start=latest").Close()
		publishKiB(t, pub, 2000)
		commit(t, fast, replayAll(t, fast, 2000)...)
		publishKiB(t, pub, 500)
		n, _ := extent(t, b, "s")
		equal(t, "records while two groups have committed none", n, 2500)
		replayAll(t, slow, 2000)
		n, _ = extent(t, b, "s")
		equal(t, "records while one group has committed none", n, 2500)

		idle := openStream(t, b, "mem://s?group=idle")
		replayAll(t, idle, 2500)
		// Nothing more is published: what goes, goes by commits.
		n, bytes := extent(t, b, "s")
		if n < 700 || bytes < 700_000 || bytes > 700_000+4*mostSegment {
			t.Errorf("%d records of %d bytes, want 200 KB and the 500 KB that are not committed", n, bytes)
		}
		equal(t, "for the slow one", len(replayAll(t, slow, 500)), 500)
		replayAll(t, fast, 500)
		if spent := b.channels["s"].log.bytes; spent < 200_000 {
			t.Errorf("%d bytes of what is committed are kept, want 200 KB", spent)
		}
		if _, bytes := extent(t, b, "s"); bytes < 200_000 || bytes > 200_000+4*mostSegment {
			t.Errorf("%d bytes, want 200 KB", bytes)
		}

		// A group that begins at the beginning holds it.
		n, _ = extent(t, b, "s")
		last := openStream(t, b, "mem://s?group=last")
		publishKiB(t, pub, 1000)
		replayAll(t, fast, 1000)
		replayAll(t, slow, 1000)
		replayAll(t, idle, 1000)
		after, _ := extent(t, b, "s")
		equal(t, "records", after, n+1000)
		replayAll(t, last, int(after))
		if _, bytes := extent(t, b, "s"); bytes > 200_000+4*mostSegment {
			t.Errorf("%d bytes, want 200 KB", bytes)
		}
	})
}

// replayAll receives n messages and commits them.
func replayAll(tb testing.TB, s messaging.StreamSubscriber, n int) []*messaging.Delivery {
	tb.Helper()
	var all []*messaging.Delivery
	for len(all) < n {
		ds := receive(tb, s, min(50, n-len(all)))
		commit(tb, s, ds...)
		all = append(all, ds...)
	}
	return all
}

func TestRetentionWithoutLimit(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://s?retain=-1")
	s := openStream(t, b, "mem://s?group=g")
	publishKiB(t, pub, 1000)
	replayAll(t, s, 1000)
	n, _ := extent(t, b, "s")
	equal(t, "records", n, 1000)
}

func TestRetentionOfLargeMessages(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://s?retain=0&partitions=1")
	s := openStream(t, b, "mem://s?group=g")
	for range 12 {
		if err := pub.Publish(t.Context(), messaging.Message{Body: make([]byte, 3<<20)}); err != nil {
			t.Fatal(err)
		}
		replayAll(t, s, 1)
	}
	if n, _ := extent(t, b, "s"); n > 1 {
		t.Errorf("%d committed messages of 3 MiB are kept with retain=0", n)
	}
}

func TestTrim(t *testing.T) {
	for _, query := range []string{"", "&group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=1")
			publish(t, pub, "", numbers(0, 20)...)
			s := openStream(t, b, "mem://s?inflight=5"+query)
			ds := receive(t, s, 5)
			trim := func(before messaging.Offset) {
				t.Helper()
				if err := b.Trim("s", "0", before); err != nil {
					t.Fatal(err)
				}
			}
			// What is in hand is settled as ever, and nothing is missed yet.
			trim("5")
			commit(t, s, ds...)
			equal(t, "next", places(receive(t, s, 1)), "0/5")

			// A Receive that waits, for whatever, hears of it.
			full := receive(t, s, 4)
			waiting := make(chan error)
			go func() {
				_, err := s.Receive(t.Context(), 1)
				waiting <- err
			}()
			synctest.Wait()
			trim("15")
			trim("7") // it is never set back
			is(t, "the Receive that waited", <-waiting, messaging.ErrTrimmed)
			_, err := s.Receive(t.Context(), 1)
			is(t, "receive", err, messaging.ErrTrimmed)
			commit(t, s, full[0])
			if err := s.Close(); err != nil {
				t.Error(err)
			}

			s = openStream(t, b, "mem://s?trimmed=skip&inflight=3"+query)
			equal(t, "after the gap", places(receive(t, s, 3)), "0/15 0/16 0/17")
		})
	}
}

func TestTrimWithSkipAndSomethingInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		publish(t, pub, "", numbers(0, 20)...)
		s := openStream(t, b, "mem://s?inflight=4&trimmed=skip&group=g")
		ds := receive(t, s, 4)
		if err := b.Trim("s", "0", "10"); err != nil {
			t.Fatal(err)
		}
		giveBack(t, s, ds[3])
		// The gap does not count as in hand.
		more := receive(t, s, 1)
		equal(t, "after the gap", places(more), "0/10")
		commit(t, s, ds[2])
		equal(t, "after the gap", places(take(t, s, 10)), "0/11 0/12 0/13")
		commit(t, s, more...)
		for range 2 {
			replayAll(t, s, 1)
		}
	})
}

func TestRetentionGoesOnAfterATrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?retain=100000&partitions=1")
		s := openStream(t, b, "mem://s?group=g&trimmed=skip")
		publishKiB(t, pub, 1000)
		if err := b.Trim("s", "0", "900"); err != nil {
			t.Fatal(err)
		}
		replayAll(t, s, 100)
		for range 10 {
			publishKiB(t, pub, 100)
			replayAll(t, s, 100)
		}
		if _, bytes := extent(t, b, "s"); bytes < 100_000 || bytes > 100_000+3*mostSegment {
			t.Errorf("%d bytes, want 100 KB", bytes)
		}
	})
}

func TestTrimErrors(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://s?partitions=1")
	publish(t, pub, "", "0", "1")
	for what, want := range map[string]error{
		"x 0 0": messaging.ErrNotFound, "s 1 0": messaging.ErrNotFound, "s  0": messaging.ErrNotFound,
		"s 0 3": nil, "s 0 -1": nil, "s 0 01": nil, "s 0 ": nil,
	} {
		args := strings.SplitN(what, " ", 3)
		err := b.Trim(args[0], args[1], messaging.Offset(args[2]))
		if err == nil || want != nil {
			is(t, what, err, want)
		}
	}
	n, _ := extent(t, b, "s")
	equal(t, "records", n, 2)
	if err := b.Trim("s", "0", "2"); err != nil {
		t.Error(err)
	}
	equal(t, "left", len(replay(t, openStream(t, b, "mem://s?end=now"))), 0)
}

func TestAReaderThatStopsHoldsNoMemory(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://s?partitions=1&retain=0")
	s := openStream(t, b, "mem://s")
	publishKiB(t, pub, 1)
	held := receive(t, s, 1)
	publishKiB(t, pub, 200)
	p := b.channels["s"].log.parts[0]
	later := weak.Make(p.tail())
	publishKiB(t, pub, 200)
	if p.first.Load() < 200 {
		t.Fatalf("first is %d", p.first.Load())
	}
	for begin := time.Now(); later.Value() != nil; runtime.GC() {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("what was removed is held by a reader that is behind it")
		}
	}
	_, err := s.Receive(t.Context(), 1)
	is(t, "receive", err, messaging.ErrTrimmed)
	commit(t, s, held...)
}

func TestRetentionWithManyGroupsAndPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=3&retain=50000")
		var all []messaging.StreamSubscriber
		for i := range 5 {
			all = append(all, openStream(t, b, fmt.Sprint("mem://s?group=", i)))
		}
		for round := range 50 {
			publishKiB(t, pub, 60)
			for i, s := range all {
				if (round+i)%5 != 0 { // by turns, each falls behind
					replayAll(t, s, 30)
				}
			}
		}
		for _, s := range all {
			replayAll(t, s, 50*60-40*30)
		}
		if _, bytes := extent(t, b, "s"); bytes < 50_000 || bytes > 50_000+4*mostSegment {
			t.Errorf("%d bytes, want 50 KB", bytes)
		}
	})
}
