package rabbitmq_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/rabbitmq"
)

// scoped is a Backend for a suite whose groups belong to a channel: here a
// group is a queue, and a queue's name belongs to the vhost. It remembers what
// was created.
type scoped struct {
	*rabbitmq.Backend
	mu     sync.Mutex
	queues map[string]bool
	opened []messaging.QueueSubscriber
}

func (b *scoped) scope(u *url.URL) *url.URL {
	q := u.Query()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues[q.Get("queue")] = true
	if group := q.Get("group"); group != "" {
		group = q.Get("exchange") + "." + group
		b.queues[group] = true
		q.Set("group", group)
	}
	c := *u
	c.RawQuery = q.Encode()
	return &c
}

func (b *scoped) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	return b.Backend.OpenPublisher(ctx, b.scope(u))
}

func (b *scoped) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	q, err := b.Backend.OpenQueue(ctx, b.scope(u))
	if err == nil {
		b.mu.Lock()
		b.opened = append(b.opened, q)
		b.mu.Unlock()
	}
	return q, err
}

// clean deletes everything that was created.
func (b *scoped) clean(ch *amqp.Channel) error {
	var errs []error
	drop := func(queue string) {
		_, err := ch.QueueDelete(queue, false, false, false)
		errs = append(errs, err)
	}
	for _, q := range b.opened {
		for _, name := range rabbitmq.DelayQueues(q) {
			drop(name)
		}
	}
	for name := range b.queues {
		drop(name)
		errs = append(errs, ch.ExchangeDelete(name, false, false))
	}
	return errors.Join(errs...)
}

func connect(raw string, f func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(raw)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return f(ch)
}

func newTarget(raw, kind string) func() *conformance.Target {
	return func() *conformance.Target {
		b := &scoped{Backend: &rabbitmq.Backend{}, queues: map[string]bool{}}
		return &conformance.Target{
			Name:    "rabbitmq " + kind,
			Backend: b,
			URL: func(channel string) string {
				return raw + "?create=true&heartbeat=2s&type=" + kind + "&exchange=" + channel + "&queue=" + channel
			},
			Timing: conformance.Timing{Reconnect: 20 * time.Second},
			Unclaimed: map[string]string{
				"Q06": "a connection that is gone gives back at once: there are no leases",
				"S14": "it promises no order",
			},
			Unroutable: true,
			Close: func() {
				_ = connect(raw, b.clean)
			},
			Hooks: conformance.Hooks{
				Crash: rabbitmq.Crash,
				Delete: func(_ context.Context, channel string) error {
					return connect(raw, func(ch *amqp.Channel) error {
						_, err := ch.QueueDelete(channel, false, false, false)
						return errors.Join(err, ch.ExchangeDelete(channel, false, false))
					})
				},
			},
		}
	}
}

// TestConformance has the suite judge both types of queue. It takes minutes,
// most of which pass with waiting.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes: run it without -short")
	}
	raw := rabbitmq.Broker(t)
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			conformance.Queue(t, newTarget(raw, kind), &conformance.Options{Most: 300})
		})
	}
}
