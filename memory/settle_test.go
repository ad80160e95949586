package memory

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// settles are the ways to settle, by name.
func settles(sub messaging.QueueSubscriber) map[string]func(context.Context, ...*messaging.Delivery) error {
	return map[string]func(context.Context, ...*messaging.Delivery) error{
		"ack":     sub.Ack,
		"release": sub.Release,
		"nack": func(ctx context.Context, ds ...*messaging.Delivery) error {
			return sub.Nack(ctx, 0, ds...)
		},
	}
}

var verbs = []string{"ack", "nack", "release"}

func TestSettledOnce(t *testing.T) {
	for _, first := range verbs {
		for _, second := range verbs {
			synctest.Test(t, func(t *testing.T) {
				pub, sub := open(t, new(Backend), "mem://q?kind=queue")
				publish(t, pub, "", "a", "b", "c")
				ds := receive(t, sub, 3)
				// In one call: the second place of the same delivery is lost.
				wantAt(t, settles(sub)[first](t.Context(), ds[1], ds[0], ds[1]), nil, nil, messaging.ErrLost)
				again := map[string]bool{}
				if first != "ack" {
					for _, d := range receive(t, sub, 2) {
						again[string(d.Body)] = true
						defer func() {
							// No newer delivery was touched.
							if err := sub.Ack(t.Context(), d); err != nil {
								t.Error(err)
							}
						}()
					}
				}
				wantAt(t, settles(sub)[second](t.Context(), ds...), messaging.ErrLost, messaging.ErrLost, nil)
				if second == "ack" {
					nothing(t, sub, time.Minute)
				}
			})
		}
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
		if got := sub.Capabilities().MaxDelay; got < 100*365*24*time.Hour {
			t.Errorf("MaxDelay is %v", got)
		}
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
		// The longest delay there is, and no overflow.
		if err := sub.Nack(t.Context(), 1<<63-1, receive(t, sub, 1)...); err != nil {
			t.Fatal(err)
		}
		publish(t, pub, "", "b")
		if err := sub.Nack(t.Context(), time.Second, receive(t, sub, 1)...); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := sub.Ack(t.Context(), receive(t, sub, 1)...); err != nil {
			t.Fatal(err)
		}
		nothing(t, sub, 100*365*24*time.Hour)
	})
}

func TestReleaseGivesBackUntouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a")
		for i := range 5 {
			d := receive(t, sub, 1)[0]
			if d.Attempt != 1 || d.Redelivered != (i > 0) {
				t.Errorf("attempt %d, redelivered %v", d.Attempt, d.Redelivered)
			}
			if err := sub.Release(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			sub, other = other, sub
		}
		if err := sub.Nack(t.Context(), 0, receive(t, sub, 1)...); err != nil {
			t.Fatal(err)
		}
		if err := sub.Release(t.Context(), receive(t, sub, 1)...); err != nil {
			t.Fatal(err)
		}
		if d := receive(t, sub, 1)[0]; d.Attempt != 2 {
			t.Errorf("attempt %d after one nack", d.Attempt)
		}
	})
}

func TestCloseGivesBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a", "b", "c")
		ds := receive(t, sub, 3)
		waiting := make(chan []*messaging.Delivery)
		go func() {
			ds, err := other.Receive(t.Context(), 1)
			if err != nil {
				t.Error(err)
			}
			waiting <- ds
		}()
		synctest.Wait()
		start := time.Now()
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
		for _, d := range append(receive(t, other, 2), <-waiting...) {
			if d.Attempt != 1 || !d.Redelivered {
				t.Errorf("attempt %d, redelivered %v", d.Attempt, d.Redelivered)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("given back after %v", took)
		}
		for _, d := range ds {
			if !lost(d) {
				t.Error("the lease is not lost")
			}
		}
		closed := messaging.ErrClosed
		wantAt(t, sub.Ack(t.Context(), ds...), closed, closed, closed)
		wantAt(t, sub.Nack(t.Context(), 0, ds...), closed, closed, closed)
		wantAt(t, sub.Release(t.Context(), ds...), nil, nil, nil)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		wantAt(t, sub.Release(done, ds...), nil, nil, nil)
		if err := sub.Ack(t.Context()); !errors.Is(err, closed) {
			t.Error(err)
		}
		if _, err := sub.Receive(t.Context(), 1); !errors.Is(err, closed) {
			t.Error(err)
		}
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		nothing(t, other, time.Minute)
	})
}

func TestSettleRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		other := openQueue(t, b, "mem://q")
		publish(t, pub, "", "a", "b", "c")
		d, foreign := receive(t, sub, 1)[0], receive(t, other, 1)[0]
		last := receive(t, sub, 1)[0]
		receipt := new(Receipt) // a copy, in a way that vet does not see
		reflect.ValueOf(receipt).Elem().Set(reflect.ValueOf(d.Raw).Elem())
		replaced := *d
		bad := []*messaging.Delivery{
			nil,
			foreign,
			{},
			{Message: d.Message, Attempt: 1},
			{Message: d.Message, Raw: d},
			{Message: d.Message, Raw: *d},
			{Message: d.Message, Raw: (*Receipt)(nil)},
			{Message: d.Message, Raw: new(Receipt)},
			{Message: d.Message, Raw: receipt},
			{Message: d.Message, Raw: (*Entry)(nil)},
		}
		for _, verb := range verbs {
			err := settles(sub)[verb](t.Context(), bad...)
			for i := range bad {
				if err := messaging.ErrorAt(err, i); err == nil || errors.Is(err, messaging.ErrLost) {
					t.Errorf("%s of number %d: %v", verb, i, err)
				}
			}
			if err := settles(sub)[verb](t.Context()); err != nil {
				t.Errorf("%s of nothing: %v", verb, err)
			}
			done, cancel := context.WithCancel(t.Context())
			cancel()
			wantAt(t, settles(sub)[verb](done, d, last), context.Canceled, context.Canceled)
		}
		nothing(t, sub, time.Minute) // and nothing was changed by any of it
		if err := other.Ack(t.Context(), foreign); err != nil {
			t.Error(err)
		}
		// A copy of a Delivery is the delivery, its other fields do not matter.
		replaced.ID, replaced.Lease, replaced.Partition = "", nil, "x"
		wantAt(t, sub.Ack(t.Context(), &replaced, d, last), nil, messaging.ErrLost, nil)
		wantAt(t, sub.Ack(t.Context(), bad[8], d), errForeign, messaging.ErrLost)
	})
}

func TestSettleMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		publish(t, pub, "", "a", "b", "c", "d")
		ds := receive(t, sub, 4)
		if err := sub.Ack(t.Context(), ds[2]); err != nil {
			t.Fatal(err)
		}
		err := sub.Ack(t.Context(), ds[3], nil, ds[2], ds[0], &messaging.Delivery{}, ds[0])
		wantAt(t, err, nil, errNil, messaging.ErrLost, nil, errForeign, messaging.ErrLost)
		if err := sub.Nack(t.Context(), 0, ds[1]); err != nil {
			t.Error("settling the others touched it:", err)
		}
		receive(t, sub, 1)
		nothing(t, sub, time.Minute)
	})
}

func TestDeletedIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		publish(t, pub, "", "a", "b")
		ds := receive(t, sub, 2)
		if err := b.Delete("q"); err != nil {
			t.Fatal(err)
		}
		if !lost(ds[0]) || !lost(ds[1]) {
			t.Error("the leases are not lost")
		}
		resume := b.Pause()
		wantAt(t, sub.Nack(t.Context(), 0, ds...), messaging.ErrLost, messaging.ErrLost)
		resume()
		wantAt(t, sub.Release(t.Context(), ds[0], nil), messaging.ErrLost, errNil)
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Delete("q"); !errors.Is(err, messaging.ErrNotFound) {
			t.Error(err)
		}
		_, sub = open(t, b, "mem://q?kind=queue")
		nothing(t, sub, time.Hour)
	})
}

func TestUncertainSettleMayBeRepeated(t *testing.T) {
	for _, verb := range verbs {
		for _, other := range verbs {
			synctest.Test(t, func(t *testing.T) {
				b := new(Backend)
				pub, sub := open(t, b, "mem://q?kind=queue")
				publish(t, pub, "", "a", "b")
				ds := receive(t, sub, 2)
				settle := settles(sub)[verb]
				if err := settle(t.Context(), ds[0]); err != nil {
					t.Fatal(err)
				}
				if verb != "ack" {
					receive(t, sub, 1)
				}
				b.SetChaos(Chaos{LostReply: 1})
				uncertain := messaging.ErrUncertain
				err := settle(t.Context(), ds[0], ds[1], nil)
				wantAt(t, err, uncertain, uncertain, errNil)
				wantAt(t, err, errReplyLost, errReplyLost, errNil)
				if verb != "ack" {
					again := receive(t, sub, 1)[0] // it was applied
					defer func() {
						if err := sub.Ack(t.Context(), again); err != nil {
							t.Error("a repeated settle touched the newer delivery:", err)
						}
					}()
				}
				wantAt(t, settle(t.Context(), ds[1]), uncertain)
				b.SetChaos(Chaos{})
				if other != verb {
					wantAt(t, settles(sub)[other](t.Context(), ds[1]), messaging.ErrLost)
				}
				wantAt(t, settle(t.Context(), ds...), messaging.ErrLost, nil)
				wantAt(t, settle(t.Context(), ds...), messaging.ErrLost, messaging.ErrLost)
			})
		}
	}
}

func TestErrorsSayWhatFailed(t *testing.T) {
	b := new(Backend)
	_, sub := open(t, b, "mem://orders?kind=queue&group=billing")
	err := sub.Ack(t.Context(), nil)
	if got, want := fmt.Sprint(err), "memory: ack on orders group billing: the delivery is nil"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
