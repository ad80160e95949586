package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// The default subscription is there from the channel's creation.
func TestDefaultSubscription(t *testing.T) {
	for _, kind := range []string{"", "?kind=queue"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://q"+kind)
			publish(t, pub, "k", "0", "1")
			for i := 2; i < 100; i++ {
				publish(t, pub, fmt.Sprint(i), fmt.Sprint(i))
			}
			if err := pub.Publish(t.Context(), messaging.Message{ID: "no", Subject: "other"}); err != nil {
				t.Fatal(err)
			}
			// Its first subscriber decides what it is like.
			sub := openQueue(t, b, "mem://q?order=key&subject=&inflight=1000")
			got := bodies(receive(t, sub, 100))
			if got[0] != "0" || slices.Contains(got, "1") || got[1] != "2" || got[98] != "99" {
				t.Errorf("received %v", got)
			}
			nothing(t, sub, time.Minute)
			publish(t, pub, "", "new")
			receive(t, sub, 1)
		})
	}
}

func TestDefaultSubscriptionWithASubject(t *testing.T) {
	for _, kind := range []string{"", "?kind=queue"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://q"+kind)
			send := func(subjects ...string) {
				for _, s := range subjects {
					if err := pub.Publish(t.Context(), messaging.Message{Subject: s, Body: []byte(s)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			send("order.eu", "bill.eu")
			sub := openQueue(t, b, "mem://q?subject=order.*")
			send("order.us", "bill.us")
			got := bodies(receive(t, sub, 2))
			slices.Sort(got)
			if !slices.Equal(got, []string{"order.eu", "order.us"}) {
				t.Errorf("received %v", got)
			}
			nothing(t, sub, time.Minute)
			for _, url := range []string{"mem://q?subject=bill.*", "mem://q?subject=%23"} {
				if _, err := b.OpenQueue(t.Context(), parse(t, url)); err == nil || !strings.Contains(err.Error(), "order.*") {
					t.Errorf("%s: %v", url, err)
				}
			}
			openQueue(t, b, "mem://q?subject=order.*")
			openQueue(t, b, "mem://q")
			send("order.eu", "bill.eu")
			receive(t, sub, 1)
			nothing(t, sub, time.Minute)
		})
	}
}

func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://q?kind=queue")
		publish(t, pub, "", "before")
		prefix := strings.Repeat("long", 20)
		urls := []string{"mem://q?group=" + prefix + "a", "mem://q?group=" + prefix + "b", "mem://q?group=" + prefix}
		var subs []messaging.QueueSubscriber
		for _, url := range urls {
			subs = append(subs, openQueue(t, b, url), openQueue(t, b, url))
		}
		publish(t, pub, "", "x", "y")
		for i, sub := range subs {
			d := receive(t, sub, 1)[0] // one for each of two
			if i < 2 {
				if err := sub.Ack(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, sub := range subs {
			nothing(t, sub, time.Second)
		}
		// Everybody may leave: the subscription stays, and goes on collecting.
		for _, sub := range subs {
			if err := sub.Close(); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, pub, "", "z")
		for i, want := range []int{1, 3, 3} {
			receive(t, openQueue(t, b, urls[i]), want)
		}
		receive(t, openQueue(t, b, "mem://q"), 4)
	})
}

// One message wakes who waits in each group.
func TestGroupsAreWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://q")
		received := make(chan error)
		for i := range 3 {
			sub := openQueue(t, b, fmt.Sprint("mem://q?group=", i))
			go func() {
				_, err := sub.Receive(t.Context(), 1)
				received <- err
			}()
		}
		synctest.Wait()
		publish(t, pub, "", "a")
		for range 3 {
			if err := <-received; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestSubjectsOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://q?kind=queue")
		patterns := []string{"#", "order.*", "order.#", "*.eu.#", "order", "#.created"}
		var subs []messaging.QueueSubscriber
		for i, p := range patterns {
			u := parse(t, fmt.Sprint("mem://q?group=", i))
			q := u.Query()
			q.Set("subject", p)
			u.RawQuery = q.Encode()
			subs = append(subs, openQueue(t, b, u.String()))
		}
		subjects := []string{"", "order", "order.eu", "order.eu.created", "bill.eu", "created", "order.*"}
		for _, s := range subjects {
			if err := pub.Publish(t.Context(), messaging.Message{Subject: s, Body: []byte(s)}); err != nil {
				t.Fatal(err)
			}
		}
		for i, sub := range subs {
			p, err := parsePattern(patterns[i])
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, s := range subjects {
				if p.match(s) {
					want = append(want, s)
				}
			}
			got := bodies(receive(t, sub, len(want)))
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: received %q, want %q", patterns[i], got, want)
			}
			nothing(t, sub, time.Second)
		}
		if d := len(subs); d != len(patterns) {
			t.Error(d)
		}
	})
}

func TestKinds(t *testing.T) {
	ctx := t.Context()
	for _, test := range []struct {
		made          string // by a publisher
		queue, stream string
		want          error
	}{
		{"mem://q", "mem://q", "mem://q", nil},
		{"mem://q", "mem://q?kind=queue", "mem://q?kind=stream", nil},
		{"mem://q", "mem://q?kind=stream", "mem://q?kind=queue", errors.ErrUnsupported},
		{"mem://q?kind=queue", "mem://q?kind=queue", "", nil},
		{"mem://q?kind=queue", "mem://q", "", nil},
		{"mem://q?kind=queue", "mem://q?kind=stream", "mem://q", errors.ErrUnsupported},
		{"mem://q?kind=stream", "mem://q", "mem://q?kind=queue", errors.ErrUnsupported},
		{"mem://q?kind=stream", "mem://q?kind=queue", "", errors.ErrUnsupported},
	} {
		b := new(Backend)
		openPublisher(t, b, test.made)
		if test.queue != "" {
			sub, err := b.OpenQueue(ctx, parse(t, test.queue))
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("made %s, queue %s: %v", test.made, test.queue, err)
			}
			if err == nil {
				_ = sub.Close()
			}
		}
		if test.stream != "" {
			sub, err := b.OpenStream(ctx, parse(t, test.stream))
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("made %s, stream %s: %v", test.made, test.stream, err)
			}
			if err == nil {
				_ = sub.Close()
			}
		}
	}
	// What was refused has created nothing.
	b := new(Backend)
	if _, err := b.OpenQueue(ctx, parse(t, "mem://q?kind=stream")); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	openQueue(t, b, "mem://q?kind=queue")
}

func TestOpenWithoutCreating(t *testing.T) {
	b := new(Backend)
	ctx := t.Context()
	missing := func(url string) {
		t.Helper()
		if _, err := b.OpenQueue(ctx, parse(t, url)); !errors.Is(err, messaging.ErrNotFound) {
			t.Errorf("%s: %v", url, err)
		}
	}
	missing("mem://q?create=false")
	if _, err := b.OpenPublisher(ctx, parse(t, "mem://q?create=false")); !errors.Is(err, messaging.ErrNotFound) {
		t.Error(err)
	}
	openPublisher(t, b, "mem://q")
	missing("mem://q?create=false&group=g")
	openQueue(t, b, "mem://q?create=false")
	openQueue(t, b, "mem://q?group=g")
	openQueue(t, b, "mem://q?create=false&group=g")
}

func TestBadOptions(t *testing.T) {
	ctx := t.Context()
	b := new(Backend)
	for _, url := range []string{
		"mem://", "mem:q", "mem://u:secret@q", "mem://q#f", "mem://q?nonsense=1", "mem://q?lease=x", "mem://q?lease=0s",
		"mem://q?lease=-1s", "mem://q?hold=0s", "mem://q?inflight=0", "mem://q?inflight=x", "mem://q?order=total", "mem://q?kind=topic",
		"mem://q?create=maybe", "mem://q?retry=often", "mem://q?seed=-1", "mem://q?dedup=-1s", "mem://q?timeout=0s", "mem://q?retain=-2",
		"mem://q?subject=ord*er", "mem://q?subject=a.%23b", "mem://q?group=a&group=b", "mem://q?lease=1s;hold=2s",
	} {
		_, err := b.OpenQueue(ctx, parse(t, url))
		if err == nil || !strings.HasPrefix(err.Error(), "memory: open queue ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
		if _, err := b.OpenPublisher(ctx, parse(t, url)); err == nil {
			t.Errorf("publisher %s: no error", url)
		}
	}
	openQueue(t, b, "mem://q?partitions=2&start=latest&end=now&partition=1&handover=1s&trimmed=skip&retain=0&envelope=none&timeout=1s&retry=none")
	for _, bad := range []*Backend{
		{Lease: -1}, {Hold: time.Microsecond}, {Handover: -1}, {Dedup: -1}, {Timeout: -1}, {Partitions: -1}, {Partitions: 1 << 20},
		{Inflight: -1}, {MaxMessage: -1}, {Kind: "topic"}, {Order: messaging.Ordered}, {Order: -1}, {Subject: "ord*er"},
		{Chaos: Chaos{Duplicate: -0.1}}, {Chaos: Chaos{Reorder: 1.1}}, {Chaos: Chaos{LostReply: math.NaN()}}, {Chaos: Chaos{Expire: 2}}, {Chaos: Chaos{Move: -1}},
	} {
		if _, err := bad.OpenQueue(ctx, parse(t, "mem://q")); err == nil {
			t.Errorf("no error for %+v", bad)
		}
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.OpenQueue(done, parse(t, "mem://q")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestChannelKeepsWhatItWasCreatedWith(t *testing.T) {
	b := new(Backend)
	openPublisher(t, b, "mem://q?dedup=1m&retain=100&partitions=2")
	openQueue(t, b, "mem://q?dedup=1m&retain=100&partitions=2")
	for _, url := range []string{"mem://q?dedup=2m", "mem://q?retain=10", "mem://q?partitions=3"} {
		if _, err := b.OpenQueue(t.Context(), parse(t, url)); err == nil || !strings.Contains(err.Error(), "was created with") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// What nobody may ever ask for is bounded once somebody has asked for
// something; before, everything is kept.
func TestBacklogOfAnUnopenedDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://q?kind=queue&retain=10")
		for i := range 10 {
			publish(t, pub, "", fmt.Sprint("a", i))
		}
		openQueue(t, b, "mem://q?group=g")
		publish(t, pub, "", "b0", "b1")
		sub := openQueue(t, b, "mem://q")
		got := bodies(receive(t, sub, 5))
		slices.Sort(got)
		if !slices.Equal(got, []string{"a7", "a8", "a9", "b0", "b1"}) {
			t.Errorf("received %v", got)
		}
		nothing(t, sub, time.Second)

		pub = openPublisher(t, b, "mem://r?kind=queue&retain=10")
		for i := range 1000 {
			publish(t, pub, "", fmt.Sprint("a", i))
		}
		sub = openQueue(t, b, "mem://r?inflight=1000")
		receive(t, sub, 1000)
		publish(t, pub, "", "c")
		if n := sub.(*queue).s.c.backlog.items.len(); n != 0 {
			t.Errorf("%d messages are kept for a subscription that is open", n)
		}
	})
}

func TestRandomSeedIsLogged(t *testing.T) {
	var text bytes.Buffer
	b := &Backend{}
	// A log's handler may use the broker: nothing is locked meanwhile.
	b.Logger = slog.New(slog.NewTextHandler(writer(func(p []byte) {
		text.Write(p)
		if err := b.Delete("other"); !errors.Is(err, messaging.ErrNotFound) {
			t.Error(err)
		}
	}), nil))
	openQueue(t, b, "mem://q?kind=queue&seed=5")
	if text.Len() > 0 {
		t.Errorf("logged %q", &text)
	}
	sub := openQueue(t, b, "mem://r?kind=queue")
	if want := fmt.Sprint("seed=", sub.(*queue).s.c.seed); !strings.Contains(text.String(), want) {
		t.Errorf("logged %q, want %s", &text, want)
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func TestLostLeasesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		b := &Backend{Logger: slog.New(slog.NewTextHandler(&text, nil))}
		pub, sub := open(t, b, "mem://q?kind=queue&seed=1&hold=1m")
		publish(t, pub, "", "a", "b")
		receive(t, sub, 2)
		time.Sleep(time.Hour)
		synctest.Wait()
		if !strings.Contains(text.String(), "lost=2") || !strings.Contains(text.String(), "queue=q") {
			t.Errorf("logged %q", &text)
		}
	})
}
