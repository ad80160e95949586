package rabbitmq

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// A queue that is deleted while it is consumed is ErrNotFound, in Receive too,
// and what was in hand is lost.
func TestQueueDeletedWhileConsuming(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, params)
		q := openQueue(t, &Backend{}, u)
		publish(t, openPublisher(t, &Backend{}, u), 2)
		ds := receive(t, q, 2)
		outcome := make(chan error, 1)
		go func() {
			_, err := q.Receive(soon(t), 1)
			outcome <- err
		}()
		native(t, func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(channelOf(t, u), false, false, false)
			return err
		})
		wants(t, <-outcome, messaging.ErrNotFound)
		<-ds[0].Lease.Lost()
		wants(t, q.Ack(soon(t), ds...), messaging.ErrLost)
		_, err := q.Receive(soon(t), 1)
		wants(t, err, messaging.ErrNotFound)
		check(t, q.Close())
		_, err = q.Receive(soon(t), 1)
		if err == nil {
			t.Error("Receive after Close is nil")
		}
	})
}

// A subscriber finds its way back through cut, refused and silent connections,
// by itself, and its window is whole again.
func TestReceiveReconnects(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, strings.Replace(params, "heartbeat=2s", "heartbeat=1s", 1)+"&inflight=10")
		faulty, through := newProxy(t, u)
		q, p := openQueue(t, &Backend{}, through), openPublisher(t, &Backend{}, u)
		publish(t, p, 10)
		ds := receive(t, q, 10)
		for _, fault := range []func(){
			faulty.cut,
			func() { faulty.set(false, true); faulty.cut() },
			func() { faulty.set(true, false) },
		} {
			fault()
			<-ds[0].Lease.Lost()
			time.AfterFunc(300*time.Millisecond, func() { faulty.set(false, false); faulty.cut() })
			for _, d := range ds {
				wants(t, q.Ack(soon(t), d), messaging.ErrLost)
			}
			ds = receive(t, q, 10)
		}
		check(t, q.Ack(soon(t), ds...))
		nothing(t, q, 200*time.Millisecond)
	})
}

// Credentials that are no longer good end a subscriber with an error, and a
// publisher's calls, instead of being tried for ever in silence.
func TestRefusedLater(t *testing.T) {
	u := address(t, "create=true&timeout=30s")
	faulty, through := newProxy(t, u)
	auth := new(changing)
	auth.set("guest")
	b := &Backend{Config: amqp.Config{SASL: []amqp.Authentication{auth}}}
	q, p := openQueue(t, b, through), openPublisher(t, b, through)
	publish(t, p, 1)
	receive(t, q, 1)
	auth.set("s3cret")
	faulty.cut()
	_, err := q.Receive(soon(t), 1)
	if err == nil || !strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("Receive: %v", err)
	}
	if err := p.Publish(soon(t), messaging.Message{}); err == nil || !strings.Contains(err.Error(), "password") || errors.Is(err, messaging.ErrUncertain) {
		t.Errorf("Publish: %v", err)
	}
	auth.set("guest")
	check(t, p.Publish(soon(t), messaging.Message{}))
}

// changing is the user guest, whose password changes.
type changing struct{ password atomic.Pointer[string] }

func (c *changing) set(password string) { c.password.Store(&password) }

func (c *changing) Mechanism() string { return "PLAIN" }

func (c *changing) Response() string { return "\x00guest\x00" + *c.password.Load() }
