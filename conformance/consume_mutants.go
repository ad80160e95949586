package conformance

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// consumeMutants break the rules of consumeRules.
func consumeMutants() []Mutant {
	return []Mutant{
		{Name: "once-settles-after", Breaks: "Q02", Flavour: ForBoth, About: "at most once settles after the handler", Consume: mutateOptions(func(o *messaging.ConsumeOptions) {
			if o.Semantics == messaging.AtMostOnce {
				o.Semantics, o.Order = messaging.AtLeastOnce, 0
			}
		})},
		{Name: "once-trusts-uncertain", Breaks: "Q02", Flavour: ForBoth, About: "at most once takes a settle that was uncertain for one that succeeded", Consume: mutateSettles(trustUncertain)},
		{Name: "once-handles-redelivered", Breaks: "Q02", Flavour: ForQueue, About: "at most once starts what is marked redelivered", Consume: handleRedelivered},
		{Name: "once-fails-in-silence", Breaks: "Q02", Flavour: ForBoth, About: "OnError hears of no failure", Consume: deaf},
		{Name: "handler-not-cancelled", Breaks: "Q07", Flavour: ForBoth, About: "the handler's context does not end when the lease is lost", Consume: mutateHandler(func(h messaging.Handler) messaging.Handler {
			return func(ctx context.Context, d *messaging.Delivery) error { return h(withoutLoss(ctx), d) }
		})},
		{Name: "dead-letter-too-late", Breaks: "Q13", Flavour: ForQueue, About: "a message gets one attempt more than MaxAttempts", Consume: mutateOptions(func(o *messaging.ConsumeOptions) {
			if o.MaxAttempts > 0 {
				o.MaxAttempts++
			}
		})},
		{Name: "fails-in-silence", Breaks: "Q13", Flavour: ForQueue, About: "OnError hears of no failure", Consume: deaf},
		{Name: "dead-letter-twice", Breaks: "Q13", Flavour: ForQueue, About: "now and then a dead letter that was taken is published again", Consume: mutateLetters(func(l messaging.Publisher) messaging.Publisher {
			return &lettersWrap{Publisher: l, publish: twiceNowAndThen()}
		})},
		{Name: "dead-letter-lost", Breaks: "Q14", Flavour: ForQueue, About: "what the dead letters refused is acknowledged on the source", Consume: mutateLetters(func(l messaging.Publisher) messaging.Publisher {
			return &lettersWrap{Publisher: l, publish: func(ctx context.Context, l messaging.Publisher, ms []messaging.Message) error {
				_ = l.Publish(ctx, ms...)
				return nil
			}}
		})},
		{Name: "dead-letter-new-id", Breaks: "Q14", Flavour: ForQueue, About: "a dead letter has an id of its own", Consume: mutateLetter(func(m *messaging.Message) { m.ID = messaging.NewID() })},
		{Name: "dead-letter-miscounts", Breaks: "Q14", Flavour: ForQueue, About: "a dead letter tells of one attempt too many", Consume: mutateLetter(miscount)},
		{Name: "dead-letter-says-little", Breaks: "Q14", Flavour: ForQueue, About: "a dead letter does not say why", Consume: mutateLetter(func(m *messaging.Message) {
			m.Headers.Set("messaging-reason", "it failed")
		})},
		{Name: "dead-letter-without-time", Breaks: "Q14", Flavour: ForQueue, About: "a dead letter is of 1970", Consume: mutateLetter(func(m *messaging.Message) {
			m.Headers.Set("messaging-time", time.Unix(0, 0).UTC().Format(time.RFC3339))
		})},
		{Name: "dead-letter-one-header", Breaks: "Q14", Flavour: ForQueue, About: "a dead letter lacks the last header of its source, where that has two", Consume: mutateLetter(dropSecondHeader)},
		{Name: "partition-parallel", Breaks: "S06", Flavour: ForStream, About: "by default the keys of a partition are handled side by side", Consume: mutateOptions(func(o *messaging.ConsumeOptions) {
			if o.Order == 0 {
				o.Order = messaging.OrderedByKey
			}
		})},
		{Name: "key-parallel", Breaks: "S14", Flavour: ForStream, About: "OrderedByKey keeps no order", Consume: mutateOptions(func(o *messaging.ConsumeOptions) {
			if o.Order == messaging.OrderedByKey {
				o.Order = messaging.Unordered
			}
		})},
		{Name: "no-back-off", Breaks: "S14", Flavour: ForBoth, About: "what failed is handled again at once", Consume: mutateOptions(func(o *messaging.ConsumeOptions) {
			o.Backoff = func(int, error) time.Duration { return 0 }
		})},
		{Name: "stricter-order-taken", Breaks: "S14", Flavour: ForQueue, About: "an order that the queue does not claim is taken all the same", Consume: takeAnyOrder},
		{Name: "commit-highest", Breaks: "S09", Flavour: ForStream, About: "commits the highest record that was handled, not the unbroken row", Consume: commitHighest},
		{Name: "poison-skipped", Breaks: "S15", Flavour: ForStream, About: "a record is dropped after MaxAttempts, without a dead letter", Consume: mutateLetters(func(l messaging.Publisher) messaging.Publisher {
			return &lettersWrap{Publisher: l, publish: func(context.Context, messaging.Publisher, []messaging.Message) error { return nil }}
		})},
		{Name: "poison-in-silence", Breaks: "S15", Flavour: ForStream, About: "OnError hears of no failure", Consume: deaf},
		{Name: "poison-miscounted", Breaks: "S15", Flavour: ForStream, About: "a dead letter tells of one attempt too many", Consume: mutateLetter(miscount)},
		{Name: "poison-too-early", Breaks: "S15", Flavour: ForStream, About: "a record is dead-lettered one attempt early", Consume: mutateOptions(func(o *messaging.ConsumeOptions) {
			if o.MaxAttempts > 1 {
				o.MaxAttempts--
			}
		})},
		{Name: "ending-ignored", Breaks: "S17", Flavour: ForStream, About: "goes on with a partition whose lease is Ending until it is Lost", Consume: ignoreEnding},
		{Name: "two-owners-handle", Breaks: "S08", Flavour: ForStream, About: "returns while a handler still runs, so that the next owner begins beside it", Consume: returnEarly},
		{Name: "one-handler-too-many", Breaks: "L01", Flavour: ForBoth, About: "runs one handler more than Concurrency", Consume: mutateOptions(func(o *messaging.ConsumeOptions) { o.Concurrency = max(1, o.Concurrency) + 1 })},
		{Name: "returns-before-drained", Breaks: "L03", Flavour: ForBoth, About: "returns nil while handlers still run", Consume: returnEarly},
		{Name: "grace-for-ever", Breaks: "L04", Flavour: ForBoth, About: "handlers get an hour of Grace", Consume: mutateOptions(func(o *messaging.ConsumeOptions) { o.Grace = time.Hour })},
		{Name: "cancel-counts-as-failure", Breaks: "L04", Flavour: ForQueue, About: "what is given back untouched counts as a failed attempt", Consume: mutateSettles(nackReleased)},
	}
}

// mutateOptions is a Consume with other options than it was given.
func mutateOptions(change func(*messaging.ConsumeOptions)) ConsumeFunc {
	return func(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
		changed := messaging.ConsumeOptions{}
		if o != nil {
			changed = *o
		}
		change(&changed)
		return messaging.Consume(ctx, s, h, &changed)
	}
}

// deaf is a Consume without OnError.
func deaf(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
	return mutateOptions(func(o *messaging.ConsumeOptions) { o.OnError = nil })(ctx, s, h, o)
}

// mutateHandler is a Consume that calls another handler than it was given.
func mutateHandler(change func(messaging.Handler) messaging.Handler) ConsumeFunc {
	return func(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
		return messaging.Consume(ctx, s, change(h), o)
	}
}

// mutateLetters is a Consume with another DeadLetter than it was given.
func mutateLetters(change func(messaging.Publisher) messaging.Publisher) ConsumeFunc {
	return mutateOptions(func(o *messaging.ConsumeOptions) {
		if o.DeadLetter != nil {
			o.DeadLetter = change(o.DeadLetter)
		}
	})
}

// mutateLetter is a Consume that changes each dead letter.
func mutateLetter(change func(*messaging.Message)) ConsumeFunc {
	return mutateLetters(func(l messaging.Publisher) messaging.Publisher {
		return &lettersWrap{Publisher: l, publish: func(ctx context.Context, l messaging.Publisher, ms []messaging.Message) error {
			for i := range ms {
				change(&ms[i])
			}
			return l.Publish(ctx, ms...)
		}}
	})
}

// mutateSettles is a Consume on another subscriber than it was given.
func mutateSettles(change func(messaging.Subscriber) messaging.Subscriber) ConsumeFunc {
	return func(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
		return messaging.Consume(ctx, change(s), h, o)
	}
}

// lettersWrap is a DeadLetter that publishes in another way.
type lettersWrap struct {
	messaging.Publisher
	publish func(context.Context, messaging.Publisher, []messaging.Message) error
}

// Publish implements messaging.Publisher.
func (l *lettersWrap) Publish(ctx context.Context, ms ...messaging.Message) error {
	return l.publish(ctx, l.Publisher, ms)
}

func twiceNowAndThen() func(context.Context, messaging.Publisher, []messaging.Message) error {
	var mu sync.Mutex
	n := 0
	return func(ctx context.Context, l messaging.Publisher, ms []messaging.Message) error {
		mu.Lock()
		n++
		again := n%50 == 0
		mu.Unlock()
		if err := l.Publish(ctx, ms...); err != nil || !again {
			return err
		}
		return errors.New("it was taken all the same")
	}
}

func dropSecondHeader(m *messaging.Message) {
	own := 0
	for _, h := range m.Headers {
		switch h.Key {
		case "messaging-reason", "messaging-attempts", "messaging-origin", "messaging-time":
		default:
			own++
		}
	}
	if own >= 2 {
		m.Headers = append(m.Headers[:own-1:own-1], m.Headers[own:]...)
	}
}

func miscount(m *messaging.Message) {
	if n, err := strconv.Atoi(m.Headers.Get("messaging-attempts")); err == nil {
		m.Headers.Set("messaging-attempts", strconv.Itoa(n+1))
	}
}

func trustUncertain(s messaging.Subscriber) messaging.Subscriber {
	trust := func(err error) error {
		if errors.Is(err, messaging.ErrUncertain) {
			return nil
		}
		return err
	}
	if q, ok := s.(messaging.QueueSubscriber); ok {
		return &queueWrap{QueueSubscriber: q, ack: func(ctx context.Context, ds []*messaging.Delivery) error { return trust(q.Ack(ctx, ds...)) }}
	}
	stream := s.(messaging.StreamSubscriber)
	return &streamWrap{StreamSubscriber: stream, commit: func(ctx context.Context, ds []*messaging.Delivery) error {
		return trust(stream.Commit(ctx, ds...))
	}}
}

func handleRedelivered(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
	q := s.(messaging.QueueSubscriber)
	return messaging.Consume(ctx, &queueWrap{QueueSubscriber: q, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		ds, err := q.Receive(ctx, max)
		for _, d := range ds {
			d.Redelivered = false
		}
		return ds, err
	}}, h, o)
}

// withoutLoss is ctx, but it does not end for ErrLost.
func withoutLoss(ctx context.Context) context.Context {
	kept, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); cause != messaging.ErrLost {
			cancel(cause)
		}
	})
	return kept
}

func takeAnyOrder(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
	err := messaging.Consume(ctx, s, h, o)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	changed := *o
	changed.Order = 0
	return messaging.Consume(ctx, s, h, &changed)
}

func commitHighest(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
	inner, ok := s.(messaging.StreamSubscriber)
	if !ok {
		return messaging.Consume(ctx, s, h, o)
	}
	var mu sync.Mutex
	highest := map[string]*messaging.Delivery{}
	handled := func(ctx context.Context, d *messaging.Delivery) error {
		err := h(ctx, d)
		mu.Lock()
		defer mu.Unlock()
		if was := highest[d.Partition]; err == nil && (was == nil || was.Offset.Compare(d.Offset) < 0) {
			highest[d.Partition] = d
		}
		return err
	}
	return messaging.Consume(ctx, &streamWrap{StreamSubscriber: inner, commit: func(ctx context.Context, ds []*messaging.Delivery) error {
		mu.Lock()
		for i, d := range ds {
			if high := highest[d.Partition]; high != nil && high.Offset.Compare(d.Offset) > 0 {
				ds[i] = high
			}
		}
		mu.Unlock()
		return inner.Commit(ctx, ds...)
	}}, handled, o)
}

// ignoreEnding gives Consume leases of its own, which are only ever lost.
func ignoreEnding(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
	inner, ok := s.(messaging.StreamSubscriber)
	if !ok {
		return messaging.Consume(ctx, s, h, o)
	}
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	leases := map[*messaging.Lease]*messaging.Lease{}
	return messaging.Consume(ctx, &streamWrap{StreamSubscriber: inner, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		ds, err := inner.Receive(ctx, max)
		for _, d := range ds {
			if d.Lease == nil {
				continue
			}
			mine := leases[d.Lease]
			if mine == nil {
				mine = &messaging.Lease{Epoch: d.Lease.Epoch}
				leases[d.Lease] = mine
				go func(theirs *messaging.Lease) {
					select {
					case <-theirs.Lost():
						mine.Lose()
					case <-ended.Done():
					}
				}(d.Lease)
			}
			d.Lease = mine
		}
		return ds, err
	}}, h, o)
}

// returnEarly returns as soon as ctx ends; what runs goes on by itself, with
// a context that does not end.
func returnEarly(ctx context.Context, s messaging.Subscriber, h messaging.Handler, o *messaging.ConsumeOptions) error {
	done := make(chan error, 1)
	go func() {
		done <- messaging.Consume(ctx, s, func(ctx context.Context, d *messaging.Delivery) error { return h(context.WithoutCancel(ctx), d) }, o)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

func nackReleased(s messaging.Subscriber) messaging.Subscriber {
	q, ok := s.(messaging.QueueSubscriber)
	if !ok {
		return s
	}
	return &queueWrap{QueueSubscriber: q, release: func(ctx context.Context, ds []*messaging.Delivery) error { return q.Nack(ctx, 0, ds...) }}
}
