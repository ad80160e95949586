package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
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

func giveBack(tb testing.TB, s messaging.Subscriber, ds ...*messaging.Delivery) {
	tb.Helper()
	if err := s.Release(context.Background(), ds...); err != nil {
		tb.Fatal(err)
	}
}

// take receives max at a time until nothing more comes within a second.
func take(tb testing.TB, s messaging.Subscriber, max int) []*messaging.Delivery {
	tb.Helper()
	var got []*messaging.Delivery
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		ds, err := s.Receive(ctx, max)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return got
		}
		if err != nil {
			tb.Fatal(err)
		}
		got = append(got, ds...)
	}
}

// keyOf returns a key of the n-th partition of a stream.
func keyOf(tb testing.TB, b *Backend, name string, n int) string {
	tb.Helper()
	l, err := b.logOf(name)
	if err != nil {
		tb.Fatal(err)
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for i := range 1 << 20 {
		if key := fmt.Sprint("key-", i); l.route(key).index == n {
			return key
		}
	}
	tb.Fatalf("no key of partition %d", n)
	return ""
}

// numbers are the bodies from one number to before another.
func numbers(from, to int) []string {
	var texts []string
	for i := from; i < to; i++ {
		texts = append(texts, strconv.Itoa(i))
	}
	return texts
}

// place is where ds were, in one text.
func places(ds []*messaging.Delivery) string {
	var texts []string
	for _, d := range ds {
		texts = append(texts, d.Partition+"/"+string(d.Offset))
	}
	return strings.Join(texts, " ")
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func equal[T comparable](tb testing.TB, what string, got, want T) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func is(tb testing.TB, what string, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Errorf("%s: got %v, want %v", what, err, target)
	}
}

func TestStreamKeepsWhatWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		want := []messaging.Message{
			{ID: "1"},
			{ID: "2", Key: "k", Subject: "a.b", Body: []byte{}},
			{ID: "3", Key: "\xff\x00", Headers: messaging.Headers{{Key: "", Value: ""}, {Key: "h", Value: "1"}, {Key: "h", Value: strings.Repeat("v", 300)}}},
			{ID: strings.Repeat("i", 200), Body: []byte(strings.Repeat("\xfe", 1<<20))},
			{ID: "5", Headers: make(messaging.Headers, 200), Body: []byte("5")},
		}
		if err := pub.Publish(t.Context(), want...); err != nil {
			t.Fatal(err)
		}
		s := openStream(t, b, "mem://s")
		for round := range 2 {
			ds := receive(t, s, len(want))
			for i, d := range ds {
				m := want[i]
				if d.ID != m.ID || d.Key != m.Key || d.Subject != m.Subject || string(d.Body) != string(m.Body) || !slices.Equal(d.Headers, m.Headers) {
					t.Errorf("round %d, message %d: got %.80v", round, i, d.Message)
				}
				equal(t, "published", d.Published, time.Now())
				equal(t, "sequence", d.Raw.(*Entry).Sequence, uint64(i+1))
				equal(t, "attempt", d.Attempt, 0)
				equal(t, "redelivered", d.Redelivered, round > 0)
				equal(t, "place", d.Partition+"/"+string(d.Offset), fmt.Sprint("0/", i))
				// What a consumer does to its message, nobody else sees.
				clear(d.Body)
				clear(d.Headers)
				d.Body = append(d.Body, "more"...)
				d.Headers = append(d.Headers, messaging.Header{Key: "more"})
			}
			giveBack(t, s, ds[0])
		}
	})
}

func TestStreamReceiveReturnsOneToMaxOrAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s")
		s := openStream(t, b, "mem://s?group=g")
		for _, max := range []int{0, -1} {
			if ds, err := s.Receive(t.Context(), max); err == nil || ds != nil {
				t.Errorf("max %d: got %d and %v", max, len(ds), err)
			}
		}
		publish(t, pub, "", numbers(0, 100)...)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		ds, err := s.Receive(ended, 10)
		is(t, "a context that has ended", err, context.Canceled)
		equal(t, "deliveries with an error", len(ds), 0)
		for _, max := range []int{1, 7, 1000} {
			ds, err := s.Receive(t.Context(), max)
			if err != nil || len(ds) < 1 || len(ds) > max {
				t.Errorf("max %d: got %d and %v", max, len(ds), err)
			}
		}
		// All of it was there, so all of it came.
		nothing(t, s, time.Second)
	})
}

func TestStreamHasOneReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s")
		s := openStream(t, b, "mem://s?group=g")
		first := make(chan error)
		go func() {
			_, err := s.Receive(t.Context(), 1)
			first <- err
		}()
		synctest.Wait()
		if _, err := s.Receive(t.Context(), 1); err == nil || errors.Is(err, messaging.ErrClosed) {
			t.Errorf("a second Receive: %v", err)
		}
		publish(t, pub, "", "a")
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestStreamReceiveThatIsCancelledLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g")
		nothing(t, s, time.Minute)
		publish(t, pub, "", "0")
		nothingWith(t, s)
		equal(t, "places", places(receive(t, s, 1)), "0/0")
	})
}

// nothingWith receives with a context that has ended.
func nothingWith(tb testing.TB, s messaging.Subscriber) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Receive(ctx, 1)
	is(tb, "receive", err, context.Canceled)
}

func TestStreamTakesPartitionsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=4")
		s := openStream(t, b, "mem://s?group=g")
		publish(t, pub, "", numbers(0, 400)...)
		seen := map[string]int{}
		for range 8 {
			for _, d := range receive(t, s, 5) {
				seen[d.Partition]++
			}
		}
		for p, n := range seen {
			equal(t, "deliveries of partition "+p, n, 10)
		}
		equal(t, "partitions", len(seen), 4)
	})
}

func TestStreamPartitionOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=8")
		for i := range 200 {
			publish(t, pub, fmt.Sprint("customer-", i%100), fmt.Sprint(i))
		}
		publish(t, pub, "", numbers(0, 80)...)
		s := openStream(t, b, "mem://s")
		byKey, keyless, keys := map[string]string{}, map[string]int{}, map[string]int{}
		for _, d := range receive(t, s, 280) {
			if d.Key == "" {
				keyless[d.Partition]++
				continue
			}
			keys[d.Partition]++
			if p, ok := byKey[d.Key]; ok && p != d.Partition {
				t.Errorf("key %s in partitions %s and %s", d.Key, p, d.Partition)
			}
			byKey[d.Key] = d.Partition
		}
		equal(t, "partitions with keys", len(keys), 8)
		for p, n := range keyless {
			equal(t, "messages without a key in partition "+p, n, 10)
		}
		equal(t, "partitions without keys", len(keyless), 8)
	})
}

func TestStreamGetsWhatWasPublishedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s")
		s := openStream(t, b, "mem://s?group=g")
		got := make(chan int)
		go func() {
			ds, err := s.Receive(t.Context(), 100)
			if err != nil {
				t.Error(err)
			}
			got <- len(ds)
		}()
		synctest.Wait()
		if err := pub.Publish(t.Context(), make([]messaging.Message, 20)...); err != nil {
			t.Fatal(err)
		}
		equal(t, "deliveries", <-got, 20)
	})
}

func TestStreamCloseLosesItsLeasesAtOnce(t *testing.T) {
	for _, url := range []string{"mem://s", "mem://s?group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s")
			s := openStream(t, b, url)
			publish(t, pub, "", "a")
			d := receive(t, s, 1)[0]
			waiting := make(chan error)
			go func() {
				_, err := s.Receive(t.Context(), 1)
				waiting <- err
			}()
			synctest.Wait()
			equal(t, "lost before", closed(d.Lease.Lost()), false)
			begin := time.Now()
			for range 2 {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			is(t, "the Receive that waited", <-waiting, messaging.ErrClosed)
			equal(t, "ending", closed(d.Lease.Ending()), true)
			equal(t, "lost", closed(d.Lease.Lost()), true)
			_, err := s.Receive(t.Context(), 1)
			is(t, "receive", err, messaging.ErrClosed)
			is(t, "commit", s.Commit(t.Context(), d), messaging.ErrClosed)
			is(t, "commit of nothing", s.Commit(t.Context()), messaging.ErrClosed)
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			for _, ctx := range []context.Context{t.Context(), ended} {
				if err := s.Release(ctx, d); err != nil {
					t.Error(err)
				}
			}
			equal(t, "time", time.Since(begin), 0)
			equal(t, "next", places(receive(t, openStream(t, b, url), 1)), places([]*messaging.Delivery{d}))
		})
	}
}

func TestStreamOfADeletedChannel(t *testing.T) {
	for _, url := range []string{"mem://s?partitions=1", "mem://s?partitions=1&group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			s := openStream(t, b, url)
			pub := openPublisher(t, b, "mem://s")
			publish(t, pub, "", "a", "b")
			ds := receive(t, s, 2)
			commit(t, s, ds[0])
			waiting := make(chan error)
			go func() {
				_, err := s.Receive(t.Context(), 1)
				waiting <- err
			}()
			synctest.Wait()
			if err := b.Delete("s"); err != nil {
				t.Fatal(err)
			}
			is(t, "the Receive that waited", <-waiting, messaging.ErrNotFound)
			_, err := s.Receive(t.Context(), 1)
			is(t, "receive", err, messaging.ErrNotFound)
			equal(t, "lost", closed(ds[1].Lease.Lost()), true)
			is(t, "commit", s.Commit(t.Context(), ds[1]), messaging.ErrLost)
			is(t, "release", s.Release(t.Context(), ds[1]), messaging.ErrLost)
			equal(t, "offset in a new channel", len(take(t, openStream(t, b, url), 1)), 0)
		})
	}
}

func TestStreamWaitsWhileTheBrokerIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s")
		s := openStream(t, b, "mem://s?group=g")
		publish(t, pub, "", "a", "b")
		d := receive(t, s, 1)[0]
		resume := b.Pause()
		nothing(t, s, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		is(t, "commit", s.Commit(ctx, d), context.DeadlineExceeded)
		is(t, "release", s.Release(ctx, d), context.DeadlineExceeded)
		received := make(chan error)
		go func() {
			_, err := s.Receive(t.Context(), 1)
			received <- err
		}()
		time.Sleep(time.Hour)
		resume()
		if err := <-received; err != nil {
			t.Error(err)
		}
		commit(t, s, d)

		defer b.Pause()()
		go func() {
			_, err := s.Receive(t.Context(), 1)
			received <- err
		}()
		committed := make(chan error)
		go func() { committed <- s.Commit(t.Context(), d) }()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		is(t, "receive", <-received, messaging.ErrClosed)
		is(t, "commit", <-committed, messaging.ErrClosed)
	})
}

func TestStreamsThatEndLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		publish(t, pub, "", "a", "b")
		for i := range 50 {
			for _, url := range []string{"mem://s", "mem://s?group=g&lease=1s", "mem://s?end=now"} {
				s := openStream(t, b, url)
				receive(t, s, 1)
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() { _ = s.Close() })
					wg.Go(func() { _, _ = s.Receive(t.Context(), 1) })
					if i%2 == 0 {
						wg.Go(func() { crash(t, b, s) })
					}
				}
				wg.Wait()
				time.Sleep(time.Second)
			}
		}
		l := b.channels["s"].log
		equal(t, "readers", len(l.readers), 0)
		equal(t, "members", len(l.groups["g"].members), 0)
		for _, p := range l.parts {
			equal(t, "watchers", len(*p.watchers.Load()), 0)
		}
	})
}

func TestAQueueThatIsOpenedLaterGetsWhatTheLogHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=8")
		for i := range 200 {
			if i == 100 {
				openQueue(t, b, "mem://s?group=other") // what was lent is copied from now on
			}
			body := []byte(fmt.Sprint(i))
			if err := pub.Publish(t.Context(), messaging.Message{Key: fmt.Sprint("key-", i%20), Body: body, Headers: messaging.Headers{{Key: "n", Value: fmt.Sprint(i)}}}); err != nil {
				t.Fatal(err)
			}
			clear(body) // the publisher's own
		}
		sub := openQueue(t, b, "mem://s?order=key")
		last := map[string]int{}
		for range 200 {
			d := receive(t, sub, 1)[0]
			n, err := strconv.Atoi(string(d.Body))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "header", d.Headers.Get("n"), string(d.Body))
			if prev, ok := last[d.Key]; ok && n != prev+20 {
				t.Errorf("%s: %d after %d", d.Key, n, prev)
			}
			last[d.Key] = n
			if err := sub.Ack(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		nothing(t, sub, time.Hour)
	})
}

func TestStreamOfAQueue(t *testing.T) {
	b := new(Backend)
	openPublisher(t, b, "mem://q?kind=queue")
	_, err := b.OpenStream(t.Context(), parse(t, "mem://q"))
	is(t, "open", err, errors.ErrUnsupported)
	for name, err := range map[string]error{
		"trim": b.Trim("q", "0", "0"), "add": b.AddPartitions("q", 1), "split": b.Split("q", "0"),
	} {
		is(t, name, err, errors.ErrUnsupported)
	}
}

func TestStreamCapabilities(t *testing.T) {
	b := new(Backend)
	equal(t, "in a group", openStream(t, b, "mem://s?group=g&lease=5s").Capabilities(), messaging.Capabilities{
		Order: messaging.Ordered, Lease: 5 * time.Second, MaxMessage: 16 << 20, Window: 1024,
	})
	equal(t, "alone", openStream(t, b, "mem://s?inflight=7").Capabilities(), messaging.Capabilities{
		Order: messaging.Ordered, MaxMessage: 16 << 20, Window: 7,
	})
}

func TestStreamAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates; run it without -race")
	}
	b := new(Backend)
	pub := openPublisher(t, b, "mem://s")
	s := openStream(t, b, "mem://s?group=g")
	for _, batch := range []int{1, 64} {
		msgs := []messaging.Message{{Key: "k", Headers: messaging.Headers{{Key: "a", Value: "b"}}, Body: make([]byte, 128)}}
		ctx := context.Background()
		n := testing.AllocsPerRun(1000/batch, func() {
			for range batch {
				if err := pub.Publish(ctx, msgs...); err != nil {
					t.Fatal(err)
				}
			}
			for n := 0; n < batch; {
				ds, err := s.Receive(ctx, batch)
				if err != nil {
					t.Fatal(err)
				}
				n += len(ds)
				commit(t, s, ds...)
			}
		})
		if n > 3*float64(batch) {
			t.Errorf("%.1f allocations for %d messages", n, batch)
		}
	}
}
