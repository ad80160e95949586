package memory

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

func open(tb testing.TB, b *Backend, rawURL string) (messaging.Publisher, messaging.QueueSubscriber) {
	tb.Helper()
	return openPublisher(tb, b, rawURL), openQueue(tb, b, rawURL)
}

func openPublisher(tb testing.TB, b *Backend, rawURL string) messaging.Publisher {
	tb.Helper()
	pub, err := b.OpenPublisher(context.Background(), parse(tb, rawURL))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := pub.Close(); err != nil {
			tb.Error(err)
		}
	})
	return pub
}

func openQueue(tb testing.TB, b *Backend, rawURL string) messaging.QueueSubscriber {
	tb.Helper()
	sub, err := b.OpenQueue(context.Background(), parse(tb, rawURL))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := sub.Close(); err != nil {
			tb.Error(err)
		}
	})
	return sub
}

func parse(tb testing.TB, rawURL string) *url.URL {
	tb.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// publish publishes messages with these bodies, each its own id.
func publish(tb testing.TB, pub messaging.Publisher, key string, bodies ...string) {
	tb.Helper()
	for _, body := range bodies {
		if err := pub.Publish(context.Background(), messaging.Message{ID: body, Key: key, Body: []byte(body)}); err != nil {
			tb.Fatal(err)
		}
	}
}

// receive returns exactly n deliveries, which must come within a second.
func receive(tb testing.TB, sub messaging.Subscriber, n int) []*messaging.Delivery {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var got []*messaging.Delivery
	for len(got) < n {
		ds, err := sub.Receive(ctx, n-len(got))
		if err != nil {
			tb.Fatalf("after %d of %d: %v", len(got), n, err)
		}
		got = append(got, ds...)
	}
	return got
}

// nothing checks that there is nothing to receive for some time.
func nothing(tb testing.TB, sub messaging.Subscriber, for_ time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), for_)
	defer cancel()
	if ds, err := sub.Receive(ctx, 1); err == nil {
		tb.Fatalf("received %q, attempt %d, want nothing", ds[0].Body, ds[0].Attempt)
	}
}

func bodies(ds []*messaging.Delivery) []string {
	var texts []string
	for _, d := range ds {
		texts = append(texts, string(d.Body))
	}
	return texts
}

func TestOpenWithoutURL(t *testing.T) {
	b := new(Backend)
	if _, err := b.OpenPublisher(t.Context(), nil); err == nil {
		t.Error("OpenPublisher(nil): no error")
	}
	if _, err := b.OpenQueue(t.Context(), nil); err == nil {
		t.Error("OpenQueue(nil): no error")
	}
	if _, err := b.OpenStream(t.Context(), nil); err == nil {
		t.Error("OpenStream(nil): no error")
	}
}
