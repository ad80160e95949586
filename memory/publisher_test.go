package memory

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// wantAt checks the outcome of each argument; nil wants nil.
func wantAt(t *testing.T, err error, want ...error) {
	t.Helper()
	for i, w := range want {
		if got := messaging.ErrorAt(err, i); !errors.Is(got, w) || (w == nil) != (got == nil) {
			t.Errorf("argument %d: %v, want %v", i, got, w)
		}
	}
	if err != nil && !strings.HasPrefix(err.Error(), "memory: ") {
		t.Errorf("error says %q", err)
	}
	if batch, ok := errors.AsType[*messaging.BatchError](err); ok && len(batch.Errs) != len(want) {
		t.Errorf("%d places for %d arguments", len(batch.Errs), len(want))
	}
}

func message(id string) messaging.Message {
	return messaging.Message{ID: id, Body: []byte(id)}
}

func TestPublishCopiesAndNeverWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&order=key")
		m := messaging.Message{Key: "k\xff", Subject: "a.b", Body: []byte("body"),
			Headers: messaging.Headers{{Key: "h", Value: "\x00"}, {Key: "h", Value: "2"}, {Key: "", Value: ""}}}
		msgs := []messaging.Message{m, m}
		if err := pub.Publish(t.Context(), msgs...); err != nil {
			t.Fatal(err)
		}
		if msgs[0].ID != "" || msgs[1].ID != "" || string(m.Body) != "body" {
			t.Error("Publish wrote to its arguments")
		}
		want := messaging.Message{Key: "k\xff", Subject: "a.b", Body: []byte("body"), Headers: slices.Clone(m.Headers)}
		copy(m.Body, "XXXX")
		m.Headers[0] = messaging.Header{Key: "X", Value: "X"}
		for range 3 {
			d := receive(t, sub, 1)[0]
			if want.ID == "" {
				if len(d.ID) < 20 {
					t.Errorf("id %q", d.ID)
				}
				want.ID = d.ID
			}
			if !reflect.DeepEqual(d.Message, want) {
				t.Fatalf("got %+v, want %+v", d.Message, want)
			}
			// What a consumer does to its copy is its own affair.
			copy(d.Body, "YYYY")
			_ = append(d.Body, "overflow"...)
			d.Headers[0].Value = "Y"
			_ = append(d.Headers, messaging.Header{Key: "Y"})
			if err := sub.Nack(t.Context(), 0, d); err != nil {
				t.Fatal(err)
			}
		}
		d := receive(t, sub, 1)[0]
		if err := sub.Ack(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if other := receive(t, sub, 1)[0]; other.ID == d.ID {
			t.Error("two messages have one id")
		}
	})
}

func TestPublishOfManySizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&inflight=100000")
		want := map[string]string{}
		for size := range 300 {
			for _, size := range []int{size, size * 37, size * 501} {
				id := messaging.NewID()
				want[id] = strings.Repeat(string(rune('a'+size%26)), size)
				m := messaging.Message{ID: id, Key: id[:size%26], Body: []byte(want[id]), Headers: messaging.Headers{{Key: id, Value: want[id]}}}
				if err := pub.Publish(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, d := range receive(t, sub, len(want)) {
			body, ok := want[d.ID]
			delete(want, d.ID)
			if !ok || string(d.Body) != body || d.Headers.Get(d.ID) != body || d.Key != d.ID[:len(body)%26] && len(body) < 300 {
				t.Fatalf("message of %d bytes was changed", len(body))
			}
		}
	})
}

func TestPublishRefusesOnlyWhatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, &Backend{MaxMessage: 10}, "mem://q?kind=queue")
		ten, eleven := messaging.Message{Body: make([]byte, 10)}, messaging.Message{Body: make([]byte, 11)}
		headers := messaging.Message{Body: make([]byte, 5), Headers: messaging.Headers{{Key: "123", Value: "456"}}}
		err := pub.Publish(t.Context(), eleven, ten, headers, ten)
		wantAt(t, err, messaging.ErrTooLarge, nil, messaging.ErrTooLarge, nil)
		receive(t, sub, 2)
		nothing(t, sub, time.Minute)
		if got := sub.Capabilities().MaxMessage; got != 10 {
			t.Errorf("MaxMessage is %d", got)
		}
	})
}

func TestPublishRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		done, cancel := context.WithCancel(t.Context())
		cancel()
		wantAt(t, pub.Publish(done, message("a"), message("b")), context.Canceled, context.Canceled)
		if err := pub.Publish(t.Context()); err != nil {
			t.Errorf("no messages: %v", err)
		}
		nothing(t, sub, time.Minute)

		if err := b.Delete("q"); err != nil {
			t.Fatal(err)
		}
		wantAt(t, pub.Publish(t.Context(), message("a"), message("b")), messaging.ErrNotFound, messaging.ErrNotFound)

		if err := pub.Close(); err != nil {
			t.Fatal(err)
		}
		wantAt(t, pub.Publish(t.Context(), message("a"), message("b")), messaging.ErrClosed, messaging.ErrClosed)
		if err := pub.Publish(t.Context()); !errors.Is(err, messaging.ErrClosed) {
			t.Errorf("no messages after Close: %v", err)
		}
		if err := pub.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestPublishWaitsWhileTheBrokerIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&timeout=20s")
		resume, resume2 := b.Pause(), b.Pause()

		start := time.Now()
		wantAt(t, pub.Publish(t.Context(), message("timeout")), context.DeadlineExceeded)
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %v with timeout=20s", took)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start = time.Now()
		wantAt(t, pub.Publish(short, message("deadline")), context.DeadlineExceeded)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v with a deadline of 1m", took)
		}

		published := make(chan error)
		go func() { published <- pub.Publish(t.Context(), message("resumed")) }()
		resume()
		resume()
		time.Sleep(time.Second)
		select {
		case err := <-published:
			t.Fatalf("published while paused: %v", err)
		default:
		}
		resume2()
		if err := <-published; err != nil {
			t.Error(err)
		}
		// What failed was certainly not stored.
		if got := bodies(receive(t, sub, 1)); got[0] != "resumed" {
			t.Errorf("received %v", got)
		}
		nothing(t, sub, time.Minute)
	})
}

func TestClosePublisherDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, err := b.OpenPublisher(t.Context(), parse(t, "mem://q?kind=queue"))
		if err != nil {
			t.Fatal(err)
		}
		sub := openQueue(t, b, "mem://q")
		resume := b.Pause()
		published := make(chan error)
		for range 2 {
			go func() { published <- pub.Publish(context.Background(), message("a")) }()
		}
		synctest.Wait()
		var wg sync.WaitGroup
		failed := make(chan error, 3)
		for range 3 {
			wg.Go(func() {
				start := time.Now()
				failed <- pub.Close()
				if took := time.Since(start); took != closeBound {
					t.Errorf("Close took %v", took)
				}
			})
		}
		for range 2 {
			wantAt(t, <-published, messaging.ErrClosed)
		}
		wg.Wait()
		resume()
		close(failed)
		n := 0
		for err := range failed {
			if err != nil {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d of three Closes returned an error, want that which gave up", n)
		}
		nothing(t, sub, time.Minute)
	})
}

func TestClosePublisherWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		resume := b.Pause()
		published := make(chan error, 1)
		go func() { published <- pub.Publish(t.Context(), message("a")) }()
		synctest.Wait()
		time.AfterFunc(closeBound-1, resume)
		start := time.Now()
		if err := pub.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != closeBound-1 {
			t.Errorf("Close took %v", took)
		}
		if err := <-published; err != nil {
			t.Error(err)
		}
		receive(t, sub, 1)
	})
}

func TestPublishAndCloseAtOnce(t *testing.T) {
	for range 200 {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		var wg sync.WaitGroup
		stored := make(chan string, 100)
		for i := range 4 {
			wg.Go(func() {
				for j := range 10 {
					id := fmt.Sprint(i, j)
					switch err := pub.Publish(context.Background(), message(id)); {
					case err == nil:
						stored <- id
					case !errors.Is(err, messaging.ErrClosed):
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			if err := pub.Close(); err != nil {
				t.Error(err)
			}
			if err := pub.Publish(context.Background(), message("late")); !errors.Is(err, messaging.ErrClosed) {
				t.Error(err)
			}
		})
		wg.Wait()
		close(stored)
		var want []string
		for id := range stored {
			want = append(want, id)
		}
		got := bodies(receive(t, sub, len(want)))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("stored %v, received %v", want, got)
		}
	}
}

func TestPublishIsStoredOnceWhenItsReplyIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, &Backend{Chaos: Chaos{LostReply: 0.9}}, "mem://q?kind=queue&seed=1")
		for range 100 {
			if err := pub.Publish(t.Context(), message("a"), message("b")); err != nil {
				t.Fatal(err)
			}
		}
		receive(t, sub, 200)
		nothing(t, sub, time.Second)
	})
}

func TestPublishIsUncertainWhenItsReplyIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{Chaos: Chaos{LostReply: 1}, MaxMessage: 20}
		sub := openQueue(t, b, "mem://q?kind=queue")
		large := messaging.Message{Body: make([]byte, 21)}

		once := openPublisher(t, b, "mem://q?retry=none")
		err := once.Publish(t.Context(), message("once"), large)
		wantAt(t, err, messaging.ErrUncertain, messaging.ErrTooLarge)
		wantAt(t, err, errReplyLost, messaging.ErrTooLarge)

		pub := openPublisher(t, b, "mem://q?timeout=20s")
		start := time.Now()
		err = pub.Publish(t.Context(), message("timeout"), large)
		wantAt(t, err, messaging.ErrUncertain, messaging.ErrTooLarge)
		wantAt(t, err, context.DeadlineExceeded, messaging.ErrTooLarge)
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %v with timeout=20s", took)
		}

		published := make(chan error)
		go func() { published <- pub.Publish(context.Background(), message("closed")) }()
		closeWhileUncertain := func(pub messaging.Publisher) {
			t.Helper()
			start := time.Now()
			if err := pub.Close(); err == nil {
				t.Error("Close returned nil although an outcome is uncertain")
			}
			if took := time.Since(start); took != closeBound {
				t.Errorf("Close took %v", took)
			}
			err := <-published
			wantAt(t, err, messaging.ErrUncertain)
			if errors.Is(err, messaging.ErrClosed) {
				t.Error("it says that the message was certainly not stored:", err)
			}
		}
		synctest.Wait()
		closeWhileUncertain(pub)

		pub = openPublisher(t, b, "mem://q?timeout=20s")
		go func() { published <- pub.Publish(context.Background(), message("paused")) }()
		synctest.Wait()
		resume := b.Pause()
		closeWhileUncertain(pub)
		resume()
		receive(t, sub, 4)
		nothing(t, sub, time.Second)
	})
}

func TestDedup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue&dedup=5m")
		if err := pub.Publish(t.Context(), message("a"), message("b"), message("a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if err := pub.Publish(t.Context(), message("b"), message("a"), message("c")); err != nil {
			t.Fatal(err)
		}
		got := bodies(receive(t, sub, 3))
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("received %v", got)
		}
		// The window counts from when it was stored, not from the last try.
		time.Sleep(2*time.Minute - time.Second - time.Nanosecond)
		nothing(t, sub, time.Second)
		publish(t, pub, "", "a")
		nothing(t, sub, time.Nanosecond)
		publish(t, pub, "", "a", "c")
		if got := bodies(receive(t, sub, 1)); got[0] != "a" {
			t.Errorf("received %v", got)
		}
		nothing(t, sub, time.Minute)
	})
}

func TestPublishedIsTheBrokersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&order=key&lease=30s")
		start := time.Now()
		publish(t, pub, "k", "a")
		b.StepClock(-time.Hour)
		publish(t, pub, "k", "b")
		b.StepClock(2 * time.Hour)
		publish(t, pub, "k", "c")
		for _, want := range []time.Duration{0, -time.Hour, time.Hour} {
			for attempt := range 2 {
				d := receive(t, sub, 1)[0]
				if got := d.Published.Sub(start); got != want {
					t.Errorf("%s was published at %v, want %v", d.Body, got, want)
				}
				time.Sleep(time.Minute)
				if attempt == 0 {
					// Neither a lease nor a delay notices the clock.
					b.StepClock(time.Hour)
					if err := sub.Nack(t.Context(), time.Minute, d); err != nil {
						t.Fatal(err)
					}
					nothing(t, sub, time.Minute-1)
					b.StepClock(-time.Hour)
				} else if err := sub.Ack(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
