package rabbitmq

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// broker returns the URL of a RabbitMQ that tests share.
func broker(t testing.TB) string {
	t.Helper()
	return shared.RabbitMQ(t)
}

// address returns the URL of a channel of the test's own, with parameters such
// as "type=classic&create=true", and removes it when the test ends.
func address(t testing.TB, params string) string {
	t.Helper()
	raw := broker(t)
	name := "t-" + strings.ToLower(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())) + "-" + messaging.NewID()[:8]
	t.Cleanup(func() { native(t, func(ch *amqp.Channel) error { return remove(ch, name) }) })
	return raw + "?exchange=" + name + "&queue=" + name + "&" + params
}

// remove deletes an exchange and the queue of its name.
func remove(ch *amqp.Channel, name string) error {
	_, err := ch.QueueDelete(name, false, false, false)
	return errors.Join(err, ch.ExchangeDelete(name, false, false))
}

// native calls f with a channel of the bare client.
func native(t testing.TB, f func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(broker(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err == nil {
		err = f(ch)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func parsed(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// channelOf is the exchange, and the queue, of an address.
func channelOf(t testing.TB, raw string) string { return parsed(t, raw).Query().Get("exchange") }

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func openPublisher(t testing.TB, b *Backend, raw string) *publisher {
	t.Helper()
	p, err := b.openPublisher(soon(t), parsed(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func openQueue(t testing.TB, b *Backend, raw string) *queue {
	t.Helper()
	q, err := b.openQueue(soon(t), parsed(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// receive receives exactly n deliveries.
func receive(t testing.TB, q messaging.Subscriber, n int) []*messaging.Delivery {
	t.Helper()
	var all []*messaging.Delivery
	for len(all) < n {
		ds, err := q.Receive(soon(t), n-len(all))
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(all), n, err)
		}
		all = append(all, ds...)
	}
	return all
}

// nothing fails the test if something comes within a while.
func nothing(t testing.TB, q messaging.Subscriber, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if ds, err := q.Receive(ctx, 1); err == nil {
		t.Fatalf("unexpected: %+v", ds[0].Message)
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
