package rabbitmq

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

func kinds(t *testing.T, f func(t *testing.T, params string)) {
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) { f(t, "create=true&heartbeat=2s&type="+kind) })
	}
}

// publish publishes n messages with the bodies 0 to n-1.
func publish(t *testing.T, p messaging.Publisher, n int) {
	t.Helper()
	msgs := make([]messaging.Message, n)
	for i := range msgs {
		msgs[i].Body = []byte{byte(i), byte(i >> 8)}
	}
	check(t, p.Publish(soon(t), msgs...))
}

func numberIn(d *messaging.Delivery) int { return int(d.Body[0]) | int(d.Body[1])<<8 }

func wants(t *testing.T, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}

// What is acknowledged in any order and in calls of any size is gone, and
// nothing else is.
func TestAckExact(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		const n = 300
		u := address(t, params+"&inflight=300")
		b := &Backend{}
		publish(t, openPublisher(t, b, u), n)
		q := openQueue(t, b, u)
		ds := receive(t, q, n)
		rng := rand.New(rand.NewPCG(1, 2))
		rng.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
		kept := map[int]bool{}
		for len(ds) > 0 {
			k := min(len(ds), 1+rng.IntN(20))
			if rng.IntN(2) == 0 {
				for _, d := range ds[:k] {
					kept[numberIn(d)] = true
				}
			} else {
				check(t, q.Ack(soon(t), ds[:k]...))
			}
			ds = ds[k:]
		}
		check(t, q.Close())
		q = openQueue(t, b, u)
		for _, d := range receive(t, q, len(kept)) {
			if !kept[numberIn(d)] {
				t.Errorf("%d came again", numberIn(d))
			}
			delete(kept, numberIn(d))
		}
		nothing(t, q, 300*time.Millisecond)
	})
}

// A second settle is ErrLost, and neither that nor a foreign delivery touches
// anything.
func TestSettleTwiceAndForeign(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, params)
		b := &Backend{}
		publish(t, openPublisher(t, b, u), 4)
		q := openQueue(t, b, u)
		ds := receive(t, q, 4)
		check(t, q.Ack(soon(t), ds[1]))
		for _, settle := range []func(...*messaging.Delivery) error{
			func(ds ...*messaging.Delivery) error { return q.Ack(soon(t), ds...) },
			func(ds ...*messaging.Delivery) error { return q.Nack(soon(t), 0, ds...) },
			func(ds ...*messaging.Delivery) error { return q.Nack(soon(t), time.Second, ds...) },
			func(ds ...*messaging.Delivery) error { return q.Release(soon(t), ds...) },
		} {
			wants(t, settle(ds[1]), messaging.ErrLost)
			copied := *ds[0].Raw.(*Receipt)
			err := settle(nil, &messaging.Delivery{}, &messaging.Delivery{Raw: &Receipt{}}, &messaging.Delivery{Raw: &copied})
			for i := range 4 {
				if one := messaging.ErrorAt(err, i); one == nil || errors.Is(one, messaging.ErrLost) {
					t.Errorf("place %d: %v", i, one)
				}
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		wants(t, q.Ack(ended, ds[0]), context.Canceled)
		// Twice in one call: the second is one too many.
		if err := q.Ack(soon(t), ds[0], ds[0]); messaging.ErrorAt(err, 0) != nil || !errors.Is(messaging.ErrorAt(err, 1), messaging.ErrLost) {
			t.Error(err)
		}
		check(t, q.Ack(soon(t), ds[3], ds[2]))
		check(t, q.Close())
		wants(t, q.Ack(soon(t), ds[2]), messaging.ErrClosed)
		check(t, q.Release(soon(t), ds[2]))
		nothing(t, openQueue(t, b, u), 300*time.Millisecond)
	})
}

// A delivery of a connection that is gone settles as ErrLost, whatever the next
// connection holds under the same tag: acknowledging it would lose a message.
func TestDeadSessionSettlesAsLost(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, params+"&inflight=3")
		b := &Backend{}
		q := openQueue(t, b, u)
		publish(t, openPublisher(t, b, u), 3)
		old := receive(t, q, 3)
		q.current.Load().c.wire.abandon()
		<-old[0].Lease.Lost()
		fresh := receive(t, q, 3)
		for i, d := range old {
			if i == 0 {
				wants(t, q.Nack(soon(t), time.Second, d), messaging.ErrLost)
			}
			wants(t, q.Ack(soon(t), d), messaging.ErrLost)
			wants(t, q.Release(soon(t), d), messaging.ErrLost)
		}
		check(t, q.Release(soon(t), fresh...))
		if again := receive(t, q, 3); len(again) != 3 || !again[0].Redelivered {
			t.Errorf("%d came again", len(again))
		}
	})
}

// A Nack's delay is kept, the message is what it was, and each way of failing
// counts on a quorum queue.
func TestNackDelay(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, params)
		b := &Backend{}
		q, p := openQueue(t, b, u), openPublisher(t, b, u)
		t.Cleanup(func() {
			native(t, func(ch *amqp.Channel) error {
				for _, name := range DelayQueues(q) {
					_, _ = ch.QueueDelete(name, false, false, false)
				}
				return nil
			})
		})
		m := messaging.Message{ID: "id", Key: "key", Subject: "order.eu", Headers: messaging.Headers{{Key: "z", Value: "1"}, {Key: "a", Value: "2"}}, Body: []byte("body")}
		check(t, p.Publish(soon(t), m))
		for i, delay := range []time.Duration{0, 400 * time.Millisecond, 0, 400 * time.Millisecond, 1100 * time.Millisecond} {
			d := receive(t, q, 1)[0]
			same(t, d, m, i > 0)
			if want := i + 1; d.Attempt != want && q.Capabilities().Attempts || !q.Capabilities().Attempts && d.Attempt != 0 {
				t.Errorf("attempt %d, want %d", d.Attempt, want)
			}
			begun := time.Now()
			check(t, q.Nack(soon(t), delay, d))
			if delay > 0 {
				nothing(t, q, delay-time.Since(begun)-10*time.Millisecond)
			}
		}
		d := receive(t, q, 1)[0]
		same(t, d, m, true)
		check(t, q.Ack(soon(t), d))
		// A delay queue that somebody deletes is declared again.
		check(t, p.Publish(soon(t), m))
		d = receive(t, q, 1)[0]
		native(t, func(ch *amqp.Channel) error {
			for _, name := range DelayQueues(q) {
				if _, err := ch.QueueDelete(name, false, false, false); err != nil {
					return err
				}
			}
			return nil
		})
		check(t, q.Nack(soon(t), 400*time.Millisecond, d))
		same(t, receive(t, q, 1)[0], m, true)
	})
}

func same(t *testing.T, d *messaging.Delivery, m messaging.Message, redelivered bool) {
	t.Helper()
	if d.ID != m.ID || d.Key != m.Key || d.Subject != m.Subject || !slices.Equal(d.Headers, m.Headers) || string(d.Body) != string(m.Body) || d.Redelivered != redelivered {
		t.Errorf("%+v, redelivered %v, want %+v", d.Message, d.Redelivered, m)
	}
}

// With delay=none nothing is declared, and a Nack is at once.
func TestNackWithoutDelays(t *testing.T) {
	u := address(t, "create=true&delay=none")
	b := &Backend{}
	q := openQueue(t, b, u)
	publish(t, openPublisher(t, b, u), 1)
	if got := q.Capabilities().MaxDelay; got != 0 {
		t.Errorf("MaxDelay %v", got)
	}
	begun := time.Now()
	check(t, q.Nack(soon(t), time.Minute, receive(t, q, 1)...))
	receive(t, q, 1)
	if since := time.Since(begun); since > 10*time.Second {
		t.Errorf("came after %v", since)
	}
}

func TestRounded(t *testing.T) {
	used := map[time.Duration]bool{}
	for d := time.Millisecond; d < 30*time.Hour; d += 1 + d/97 {
		r := rounded(d)
		used[r] = true
		if want := min(d, mostDelay); r < want || r > want+max(want/8, 50*time.Millisecond) {
			t.Fatalf("%v becomes %v", d, r)
		}
		if rounded(r) != r {
			t.Fatalf("%v is not its own round number", r)
		}
	}
	if len(used) > 160 {
		t.Errorf("%d delay queues", len(used))
	}
	for _, d := range []time.Duration{time.Second, 10 * time.Second, 20 * time.Second, time.Minute, mostDelay} {
		if d != time.Minute && rounded(d) != d {
			t.Errorf("%v becomes %v", d, rounded(d))
		}
	}
}

// The window is exact, and what a subscriber does not hold goes to others.
func TestWindow(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, params+"&inflight=5")
		b := &Backend{}
		publish(t, openPublisher(t, b, u), 12)
		q := openQueue(t, b, u)
		ds := receive(t, q, 5)
		nothing(t, q, 200*time.Millisecond)
		other := openQueue(t, b, u)
		receive(t, other, 5)
		check(t, q.Ack(soon(t), ds[:2]...))
		receive(t, q, 2)
		nothing(t, q, 200*time.Millisecond)
		check(t, other.Close())
		check(t, q.Ack(soon(t), ds[2:]...))
		receive(t, q, 3)
	})
}

// Ending a Receive loses nothing, and an opened subscriber that never receives
// takes nothing.
func TestReceiveCancelled(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, params)
		b := &Backend{}
		idle, q, p := openQueue(t, b, u), openQueue(t, b, u), openPublisher(t, b, u)
		got := map[int]bool{}
		for i := range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*time.Millisecond)
			check(t, p.Publish(soon(t), messaging.Message{Body: []byte{byte(i), 0}}))
			ds, err := q.Receive(ctx, 2)
			cancel()
			for _, d := range ds {
				got[numberIn(d)] = true
			}
			check(t, q.Ack(soon(t), ds...))
			if err != nil {
				wants(t, err, context.DeadlineExceeded)
			}
		}
		for len(got) < 100 {
			for _, d := range receive(t, q, 1) {
				got[numberIn(d)] = true
			}
		}
		check(t, idle.Close())
	})
}
