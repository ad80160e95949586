package conformance

import (
	"bytes"
	"context"
	"net/url"

	"github.com/fa5182d2/messaging"
)

// wireMutants break I01 and I02: they are honest as long as nobody else is
// there.
func wireMutants() []Mutant {
	return []Mutant{
		{
			Name: "envelope", Breaks: "I01", Flavour: ForBoth, About: "Every body is put into an envelope, which only the same backend takes off.",
			Target: func(t *Target) {
				envelope := []byte("envelope:")
				private(t, func(m *messaging.Message) { m.Body = append(bytes.Clone(envelope), m.Body...) }, func(m *messaging.Message) {
					if body, ok := bytes.CutPrefix(m.Body, envelope); ok {
						m.Body = body
					}
				})
			},
		},
		{
			Name: "key-in-a-header", Breaks: "I01", Flavour: ForBoth, About: "The key travels in a header of its own, and the field for it stays as it is.",
			Target: func(t *Target) {
				private(t, func(m *messaging.Message) {
					m.Headers = append(cloned(m.Headers), messaging.Header{Key: "x-key", Value: m.Key})
				}, func(m *messaging.Message) {
					if n := len(m.Headers); n > 0 && m.Headers[n-1].Key == "x-key" {
						m.Headers = m.Headers[: n-1 : n-1]
					}
				})
			},
		},
		{
			Name: "foreign-headers-lost", Breaks: "I02", Flavour: ForBoth, About: "Headers are kept only of messages that the same backend published.",
			Target: func(t *Target) { marked(t, func(m *messaging.Message) { m.Headers = nil }) },
		},
		{
			Name: "foreign-id-random", Breaks: "I02", Flavour: ForBoth, About: "What another client published gets a new id at each delivery.",
			Target: func(t *Target) { marked(t, func(m *messaging.Message) { m.ID = messaging.NewID() }) },
		},
	}
}

func cloned(h messaging.Headers) messaging.Headers { return append(messaging.Headers(nil), h...) }

// marked marks what is published, and gives what has no mark to foreign.
func marked(t *Target, foreign func(*messaging.Message)) {
	private(t, func(m *messaging.Message) {
		m.Headers = append(cloned(m.Headers), messaging.Header{Key: "x-mark"})
	}, func(m *messaging.Message) {
		if n := len(m.Headers); n > 0 && m.Headers[n-1].Key == "x-mark" {
			m.Headers = m.Headers[: n-1 : n-1]
			return
		}
		foreign(m)
	})
}

// private changes what is published, and changes it back when it is received.
func private(t *Target, out, in func(*messaging.Message)) {
	receive := func(receive receiveFunc) receiveFunc {
		return func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := receive(ctx, max)
			for _, d := range ds {
				in(&d.Message)
			}
			return ds, err
		}
	}
	w := &wrapping{
		publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher { return privatePublisher{p, out} },
		queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
			return &queueWrap{QueueSubscriber: q, receive: receive(q.Receive)}
		},
		stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
			return &streamWrap{StreamSubscriber: s, receive: receive(s.Receive)}
		},
	}
	w.around(t)
}

// privatePublisher publishes what out has changed.
type privatePublisher struct {
	messaging.Publisher
	out func(*messaging.Message)
}

// Publish implements messaging.Publisher.
func (p privatePublisher) Publish(ctx context.Context, ms ...messaging.Message) error {
	changed := make([]messaging.Message, len(ms))
	for i, m := range ms {
		p.out(&m)
		changed[i] = m
	}
	return p.Publisher.Publish(ctx, changed...)
}
