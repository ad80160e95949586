package conformance

import (
	"context"
	"math/big"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// Control is an honest target that is odd in a way that the contract allows.
// No rule may accuse it: it is what a mutant is compared with.
type Control struct {
	Name    string // short, with dashes
	About   string // how it is odd, and why it may be, in a sentence
	Flavour Flavour

	// Target makes an honest target odd, in place, and takes back the claims
	// that the oddity breaks. None of them is core.
	Target func(*Target)
}

// Controls returns all controls.
func Controls() []Control {
	return []Control{
		{"late", "Every call takes up to 50 ms, and a Publish is answered long after its messages are delivered.", ForBoth, makeLate},
		{"delivers-twice", "Now and then a message comes once more after it was settled, as on a queue of SQS.", ForQueue, makeTwice},
		{"unordered", "Messages of a batch change places, where no order is promised.", ForQueue, makeUnordered},
		{"attempts-skip", "Attempt counts more than there were, as where a broker counts what it sent and nobody received.", ForQueue, makeAttemptsSkip},
		{"attempts-uncounted", "Attempt is 0, as where a broker does not count.", ForQueue, makeAttemptsUncounted},
		{"reply-lost", "Now and then what a Receive brings is lost on its way, and comes again when its lease has ended.", ForQueue, makeReplyLost},
		{"offsets-with-gaps", "Offsets are large and have gaps, as in a log with transactions, or of sequence numbers.", ForStream, makeGaps},
		{"slow-rebalance", "A member that joins gets nothing for 2 s.", ForStream, makeSlowRebalance},
		{"one-at-a-time", "A Receive brings one message, whatever it may bring.", ForBoth, makeOneAtATime},
	}
}

// oddness is a source of chance that goroutines share.
type oddness struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func newOddness() *oddness { return &oddness{rng: rand.New(rand.NewPCG(1, 1))} }

// below returns a number in [0, n).
func (o *oddness) below(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rng.IntN(n)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latePublisher answers late. It does so although ctx ended: what was taken,
// was.
type latePublisher struct {
	messaging.Publisher
	odd *oddness
}

// Publish implements messaging.Publisher.
func (p latePublisher) Publish(ctx context.Context, ms ...messaging.Message) error {
	err := p.Publisher.Publish(ctx, ms...)
	_ = pause(ctx, time.Duration(p.odd.below(50))*time.Millisecond)
	return err
}

func makeLate(t *Target) {
	odd := newOddness()
	late := func(ctx context.Context) error { return pause(ctx, time.Duration(odd.below(50))*time.Millisecond) }
	w := &wrapping{
		publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher { return latePublisher{p, odd} },
		queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
			return &queueWrap{
				QueueSubscriber: q,
				receive:         lateReceive(q.Receive, late),
				ack: func(ctx context.Context, ds []*messaging.Delivery) error {
					_ = late(ctx)
					return q.Ack(ctx, ds...)
				},
			}
		},
		stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
			return &streamWrap{
				StreamSubscriber: s,
				receive:          lateReceive(s.Receive, late),
				commit: func(ctx context.Context, ds []*messaging.Delivery) error {
					_ = late(ctx)
					return s.Commit(ctx, ds...)
				},
			}
		},
	}
	w.around(t)
}

type receiveFunc = func(ctx context.Context, max int) ([]*messaging.Delivery, error)

func lateReceive(receive receiveFunc, late func(context.Context) error) receiveFunc {
	return func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		if max > 0 {
			if err := late(ctx); err != nil {
				return nil, err
			}
		}
		return receive(ctx, max)
	}
}

func makeUnordered(t *Target) {
	odd := newOddness()
	w := &wrapping{queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
		if q.Capabilities().Order != messaging.Unordered {
			return q
		}
		return &queueWrap{QueueSubscriber: q, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := q.Receive(ctx, max)
			for i := range ds {
				k := odd.below(i + 1)
				ds[i], ds[k] = ds[k], ds[i]
			}
			return ds, err
		}}
	}}
	w.around(t)
}

// inexact are q's capabilities without the promise that attempts are exact.
func inexact(q messaging.QueueSubscriber) func() messaging.Capabilities {
	return func() messaging.Capabilities {
		c := q.Capabilities()
		c.ExactAttempts = false
		return c
	}
}

func makeAttemptsSkip(t *Target) {
	odd := newOddness()
	w := &wrapping{queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
		return &queueWrap{QueueSubscriber: q, caps: inexact(q), receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := q.Receive(ctx, max)
			for _, d := range ds {
				d.Attempt += d.Attempt - 1 + odd.below(2)
			}
			return ds, err
		}}
	}}
	w.around(t)
}

func makeAttemptsUncounted(t *Target) {
	w := &wrapping{queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
		return &queueWrap{
			QueueSubscriber: q,
			caps: func() messaging.Capabilities {
				c := q.Capabilities()
				c.Attempts, c.ExactAttempts = false, false
				return c
			},
			receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				ds, err := q.Receive(ctx, max)
				for _, d := range ds {
					d.Attempt = 0
				}
				return ds, err
			},
		}
	}}
	w.around(t)
}

func makeOneAtATime(t *Target) {
	one := func(receive receiveFunc) receiveFunc {
		return func(ctx context.Context, max int) ([]*messaging.Delivery, error) { return receive(ctx, min(max, 1)) }
	}
	w := &wrapping{
		queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
			return &queueWrap{QueueSubscriber: q, receive: one(q.Receive)}
		},
		stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
			return &streamWrap{StreamSubscriber: s, receive: one(s.Receive)}
		},
	}
	w.around(t)
}

func makeSlowRebalance(t *Target) {
	w := &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if u.Query().Get("group") == "" {
			return s
		}
		joined := time.Now().Add(2 * time.Second)
		return &streamWrap{StreamSubscriber: s, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			if wait := time.Until(joined); wait > 0 && max > 0 {
				if err := pause(ctx, wait); err != nil {
					return nil, err
				}
			}
			return s.Receive(ctx, max)
		}}
	}}
	w.around(t)
}

// gap is what offsets are multiplied by.
const gap = 1_000_003

func widen(o messaging.Offset) messaging.Offset {
	n, ok := new(big.Int).SetString(string(o), 10)
	if !ok {
		return o
	}
	return messaging.Offset(n.Mul(n, big.NewInt(gap)).String())
}

// narrow returns the first of the inner offsets that is not before o.
func narrow(o messaging.Offset) messaging.Offset {
	n, ok := new(big.Int).SetString(string(o), 10)
	if !ok {
		return o
	}
	n.Add(n, big.NewInt(gap-1))
	return messaging.Offset(n.Div(n, big.NewInt(gap)).String())
}

func makeGaps(t *Target) {
	w := &wrapping{
		url: func(u *url.URL) *url.URL {
			q := u.Query()
			for _, name := range []string{"start", "end"} {
				if q.Has(name) {
					q.Set(name, string(narrow(messaging.Offset(q.Get(name)))))
				}
			}
			u.RawQuery = q.Encode()
			return u
		},
		stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
			return &streamWrap{StreamSubscriber: s, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				ds, err := s.Receive(ctx, max)
				for _, d := range ds {
					d.Offset = widen(d.Offset)
				}
				return ds, err
			}}
		},
	}
	w.around(t)
	if trim := t.Trim; trim != nil {
		t.Trim = func(ctx context.Context, channel, partition string, before messaging.Offset) error {
			return trim(ctx, channel, partition, narrow(before))
		}
	}
}

// unclaim takes back the claim of rules.
func (t *Target) unclaim(reason string, ids ...string) {
	claims := map[string]string{}
	for id, why := range t.Unclaimed {
		claims[id] = why
	}
	for _, id := range ids {
		if r := ruleOf(id); r != nil && claims[id] == "" {
			claims[id] = reason
		}
	}
	t.Unclaimed = claims
}
