package messaging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// scripted is a subscriber that answers each Receive with the next step, and
// after the last with its context's error when that ends.
type scripted struct {
	messaging.Subscriber
	steps    []step
	asked    []int
	released []string
	release  func(context.Context) error // nil: at once
}

// step is one answer: deliveries with these ids, or an error.
type step struct {
	ids []string
	err error
}

func (s *scripted) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	s.asked = append(s.asked, max)
	if len(s.steps) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	next := s.steps[0]
	s.steps = s.steps[1:]
	var ds []*messaging.Delivery
	for _, id := range next.ids {
		ds = append(ds, &messaging.Delivery{Message: messaging.Message{ID: id}})
	}
	return ds, next.err
}

func (s *scripted) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	for _, d := range ds {
		s.released = append(s.released, d.ID)
	}
	if s.release != nil {
		return s.release(ctx)
	}
	return ctx.Err()
}

func TestDeliveries(t *testing.T) {
	broken := errors.New("broken")
	brokenEOF := fmt.Errorf("read tcp: %w", io.EOF)
	for name, tt := range map[string]struct {
		steps    []step
		leaveAt  string // break in the body of this one
		cancelAt string // end the context in the body of this one
		yielded  string
		err      error
		released string
		left     int // steps that were not asked for
	}{
		"to the end of a stream":           {steps: []step{{ids: ids("a b c")}, {ids: ids("d")}, {err: io.EOF}, {ids: ids("e")}}, yielded: "a b c d", left: 1},
		"nothing but the end":              {steps: []step{{err: io.EOF}}},
		"an error":                         {steps: []step{{ids: ids("a b")}, {err: broken}, {ids: ids("c")}}, yielded: "a b", err: broken, left: 1},
		"an error at once":                 {steps: []step{{err: broken}}, err: broken},
		"a connection's EOF is no end":     {steps: []step{{ids: ids("a")}, {err: brokenEOF}}, yielded: "a", err: brokenEOF},
		"break at the first":               {steps: []step{{ids: ids("a b c")}, {ids: ids("d")}}, leaveAt: "a", yielded: "a", released: "b c", left: 1},
		"break in the middle":              {steps: []step{{ids: ids("a b c d")}}, leaveAt: "b", yielded: "a b", released: "c d"},
		"break at the last":                {steps: []step{{ids: ids("a b")}, {ids: ids("c")}}, leaveAt: "b", yielded: "a b", left: 1},
		"break in the second batch":        {steps: []step{{ids: ids("a b")}, {ids: ids("c d e")}}, leaveAt: "c", yielded: "a b c", released: "d e"},
		"ctx ends in a batch":              {steps: []step{{ids: ids("a b c")}, {ids: ids("d")}}, cancelAt: "a", yielded: "a", err: context.Canceled, released: "b c", left: 1},
		"ctx ends at the last":             {steps: []step{{ids: ids("a b")}, {ids: ids("c")}}, cancelAt: "b", yielded: "a b", err: context.Canceled, left: 1},
		"ctx ends and break":               {steps: []step{{ids: ids("a b")}}, cancelAt: "a", leaveAt: "a", yielded: "a", released: "b"},
		"neither deliveries nor an error":  {steps: []step{{ids: ids("a")}, {}, {ids: ids("b")}}, yielded: "a", err: errors.New("messaging: Receive of a *messaging_test.scripted returned neither deliveries nor an error"), left: 1},
		"break at the error of a Receive":  {steps: []step{{err: broken}}, leaveAt: "error", err: broken},
		"an error that wraps a sentinel":   {steps: []step{{err: fmt.Errorf("kafka: receive: %w", messaging.ErrTrimmed)}}, err: messaging.ErrTrimmed},
		"the error of a deadline":          {steps: []step{{err: context.DeadlineExceeded}}, err: context.DeadlineExceeded},
		"closed beside it":                 {steps: []step{{ids: ids("a b")}, {err: messaging.ErrClosed}}, yielded: "a b", err: messaging.ErrClosed},
		"a batch of one each":              {steps: []step{{ids: ids("a")}, {ids: ids("b")}, {err: io.EOF}}, yielded: "a b"},
		"what was yielded is not released": {steps: []step{{ids: ids("a b c")}, {err: broken}}, yielded: "a b c", err: broken},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &scripted{steps: tt.steps}
			var yielded []string
			var got error
			for d, err := range messaging.Deliveries(ctx, s, 7) {
				if got != nil {
					t.Fatalf("went on after the error %v", got)
				}
				if (d == nil) != (err != nil) {
					t.Fatalf("yielded %v and %v", d, err)
				}
				if err != nil {
					if got = err; tt.leaveAt == "error" {
						break
					}
					continue
				}
				yielded = append(yielded, d.ID)
				if d.ID == tt.cancelAt {
					cancel()
				}
				if d.ID == tt.leaveAt {
					break
				}
			}
			if strings.Join(yielded, " ") != tt.yielded {
				t.Errorf("yielded %v, want %v", yielded, tt.yielded)
			}
			if strings.Join(s.released, " ") != tt.released {
				t.Errorf("released %v, want %v", s.released, tt.released)
			}
			if !errors.Is(got, tt.err) && (got == nil || tt.err == nil || got.Error() != tt.err.Error()) {
				t.Errorf("ended with %v, want %v", got, tt.err)
			}
			if len(s.steps) != tt.left {
				t.Errorf("%d answers are left, want %d", len(s.steps), tt.left)
			}
			for _, max := range s.asked {
				if max != 7 {
					t.Errorf("asked for %d, want 7", max)
				}
			}
		})
	}
}

func ids(text string) []string { return strings.Fields(text) }

// A context that is done before the loop: nothing is asked for.
func TestDeliveriesContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &scripted{steps: []step{{ids: ids("a")}}}
	n := 0
	for d, err := range messaging.Deliveries(ctx, s, 1) {
		if n++; d != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("yielded %v and %v", d, err)
		}
	}
	if n != 1 || len(s.asked) != 0 {
		t.Errorf("%d rounds and %d calls of Receive, want 1 and none", n, len(s.asked))
	}
}

func TestDeliveriesContextEndsInReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var yielded []string
		for d, err := range messaging.Deliveries(ctx, &scripted{steps: []step{{ids: ids("a")}}}, 1) {
			yielded = append(yielded, fmt.Sprint(d != nil, err))
		}
		if want := []string{"true <nil>", "false context deadline exceeded"}; !slices.Equal(yielded, want) {
			t.Errorf("yielded %q, want %q", yielded, want)
		}
	})
}

// A body that does not return releases what it was not given.
func TestDeliveriesBodyDoesNotReturn(t *testing.T) {
	for name, leave := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			s := &scripted{steps: []step{{ids: ids("a b c")}}}
			var recovered any
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { recovered = recover() }()
				for range messaging.Deliveries(t.Context(), s, 3) {
					leave()
				}
			})
			wg.Wait()
			if want := ids("b c"); !slices.Equal(s.released, want) {
				t.Errorf("released %v, want %v", s.released, want)
			}
			if name == "panic" && recovered != "boom" {
				t.Errorf("the panic arrived as %v", recovered)
			}
		})
	}
}

func TestDeliveriesAgain(t *testing.T) {
	s := &scripted{steps: []step{{ids: ids("a b")}, {ids: ids("b c")}, {err: io.EOF}}}
	seq := messaging.Deliveries(t.Context(), s, 2)
	var yielded []string
	for d := range seq {
		yielded = append(yielded, d.ID)
		break
	}
	for d := range seq {
		yielded = append(yielded, d.ID)
	}
	if want := ids("a b c"); !slices.Equal(yielded, want) {
		t.Errorf("yielded %v, want %v", yielded, want)
	}
}

// The release does not end with the context of the loop, but it is bounded.
func TestDeliveriesReleaseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
		defer cancel()
		var value any
		s := &scripted{steps: []step{{ids: ids("a b")}}, release: func(ctx context.Context) error {
			value = ctx.Value(key{})
			<-ctx.Done()
			return ctx.Err()
		}}
		start := time.Now()
		for range messaging.Deliveries(ctx, s, 2) {
			cancel()
			break
		}
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("a broker that does not answer holds the loop for %v, want 5s", got)
		}
		if value != "kept" {
			t.Errorf("the release's context has lost its values: %v", value)
		}
	})
}

func TestDecode(t *testing.T) {
	type order struct{ Item string }
	failed := errors.New("failed")
	var got order
	calls := 0
	h := messaging.Decode(json.Unmarshal, func(_ context.Context, d *messaging.Delivery, o order) error {
		calls++
		if got = o; d.ID != "id" {
			t.Errorf("the delivery is %v", d)
		}
		return failed
	})
	body := func(text string) *messaging.Delivery {
		return &messaging.Delivery{Message: messaging.Message{ID: "id", Body: []byte(text)}}
	}
	if err := h(t.Context(), body(`{"Item":"book"}`)); err != failed || got.Item != "book" {
		t.Errorf("the handler got %v and returned %v, want the book and its own error", got, err)
	}
	if err := h(t.Context(), body(`{}`)); err != failed || got.Item != "" {
		t.Errorf("the value of the message before is left: %v", got)
	}

	calls = 0
	err := h(t.Context(), body(`{"Item":`))
	if _, ok := errors.AsType[*json.SyntaxError](err); !ok || calls != 0 {
		t.Errorf("a body that does not decode: %v after %d calls, want a json.SyntaxError and none", err, calls)
	}
	if want := "decode body into messaging_test.order"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %q", err, want)
	}
	if err := h(t.Context(), &messaging.Delivery{}); err == nil || calls != 0 {
		t.Errorf("a nil body: %v after %d calls", err, calls)
	}
}

// The error names T where its zero value has no type.
func TestDecodeIntoInterface(t *testing.T) {
	broken := errors.New("broken")
	unmarshal := func([]byte, any) error { return broken }
	h := messaging.Decode(unmarshal, func(context.Context, *messaging.Delivery, fmt.Stringer) error { return nil })
	err := h(t.Context(), &messaging.Delivery{})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "fmt.Stringer") {
		t.Errorf("%v does not name fmt.Stringer", err)
	}
}

// A body that does not decode goes to the dead letters at once.
func TestDecodeRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dead []string
		letters := publisherFunc(func(_ context.Context, ms ...messaging.Message) error {
			for _, m := range ms {
				dead = append(dead, string(m.Body))
			}
			return nil
		})
		s := newQueue()
		for _, body := range []string{"1", "one", "2"} {
			s.arrive(message(body))
		}
		var sum int
		add := messaging.Decode(json.Unmarshal, func(_ context.Context, _ *messaging.Delivery, n int) error {
			sum += n
			return nil
		})
		c := consume(t, s, add, &messaging.ConsumeOptions{DeadLetter: letters})
		synctest.Wait()
		if err := c.end(); err != nil {
			t.Error(err)
		}
		if want := []string{"one"}; !slices.Equal(dead, want) || sum != 3 {
			t.Errorf("dead letters %q and sum %d, want %q and 3", dead, sum, want)
		}
	})
}

func TestDecodeWithoutFunctions(t *testing.T) {
	f := func(context.Context, *messaging.Delivery, int) error { return nil }
	for _, h := range []messaging.Handler{messaging.Decode(nil, f), messaging.Decode[int](json.Unmarshal, nil)} {
		if h != nil {
			t.Error("a Handler that can only panic is not nil")
		}
		if err := messaging.Consume(t.Context(), newQueue(), h, nil); err == nil {
			t.Error("Consume took it")
		}
	}
}
