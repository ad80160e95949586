package conformance

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// beside is who of a group holds something.
type beside struct {
	mu    sync.Mutex
	holds map[string]map[any]bool // by group
}

// others says whether anybody else of the group holds something, after one
// began to hold something, or nothing.
func (b *beside) others(group string, one any, holds bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holds[group] == nil {
		b.holds[group] = map[any]bool{}
	}
	delete(b.holds[group], one)
	alone := len(b.holds[group]) == 0
	if holds {
		b.holds[group][one] = true
	}
	return !alone
}

func mutantLosesBeside(*Target) *wrapping {
	b := &beside{holds: map[string]map[any]bool{}}
	var count nth
	around := func(u *url.URL, one any, receive receiveFunc, settle func(context.Context, ...*messaging.Delivery) error) receiveFunc {
		group := u.Host + " " + u.Query().Get("group")
		return func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := receive(ctx, max)
			if b.others(group, one, err == nil) && len(ds) > 1 && count.in(20) {
				if settle != nil {
					_ = settle(ctx, ds[0])
				}
				ds = ds[1:]
			}
			return ds, err
		}
	}
	return &wrapping{
		queue: func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
			w := &queueWrap{QueueSubscriber: q}
			w.receive = around(u, w, q.Receive, q.Ack)
			return w
		},
		stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
			w := &streamWrap{StreamSubscriber: s}
			w.receive = around(u, w, s.Receive, nil)
			return w
		},
	}
}

// rewrites makes mutants that open another URL.
func rewrites(change func(u *url.URL, q url.Values)) func(*Target) *wrapping {
	return func(*Target) *wrapping {
		return &wrapping{url: func(u *url.URL) *url.URL {
			q := u.Query()
			change(u, q)
			u.RawQuery = q.Encode()
			return u
		}}
	}
}

func mutantCreates(t *Target) *wrapping {
	return rewrites(func(_ *url.URL, q url.Values) { q.Del("create") })(t)
}

func mutantNamesCut(t *Target) *wrapping {
	return rewrites(func(u *url.URL, _ url.Values) { u.Host = strings.TrimSuffix(u.Host, "-b") })(t)
}

func mutantForgetsIDs(t *Target) *wrapping {
	return rewrites(func(_ *url.URL, q url.Values) { q.Del("dedup") })(t)
}

func mutantRemembersLong(t *Target) *wrapping {
	return rewrites(func(_ *url.URL, q url.Values) {
		if q.Has("dedup") {
			q.Set("dedup", "1h")
		}
	})(t)
}

func mutantRemembersOwn(t *Target) *wrapping {
	w := mutantForgetsIDs(t)
	w.publisher = func(p messaging.Publisher, u *url.URL) messaging.Publisher {
		// A mutex that is held in a Publish would stop the time of a bubble.
		turn := make(chan struct{}, 1)
		seen := map[string]bool{}
		return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
			turn <- struct{}{}
			defer func() { <-turn }()
			var kept []int
			var send []messaging.Message
			for i, m := range ms {
				if m.ID == "" || !seen[m.ID] {
					kept, send = append(kept, i), append(send, m)
				}
			}
			err := p.Publish(ctx, send...)
			for k, m := range send {
				if phaseOf(messaging.ErrorAt(err, k)) != Fail {
					seen[m.ID] = true
				}
			}
			return spread(ms, kept, err, func(int) error { return nil })
		}}
	}
	return w
}

func mutantSharesBodies(*Target) *wrapping {
	type owner struct{ group, id string }
	var mu sync.Mutex
	bodies := map[owner][]byte{}
	around := func(u *url.URL, receive receiveFunc) receiveFunc {
		group := u.Host + " " + u.Query().Get("group")
		return func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			ds, err := receive(ctx, max)
			mu.Lock()
			defer mu.Unlock()
			for _, d := range ds {
				if body, ok := bodies[owner{group, d.ID}]; ok {
					d.Body = body
				}
				bodies[owner{group, d.ID}] = d.Body
			}
			return ds, err
		}
	}
	return &wrapping{
		queue: func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
			return &queueWrap{QueueSubscriber: q, receive: around(u, q.Receive)}
		},
		stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
			return &streamWrap{StreamSubscriber: s, receive: around(u, s.Receive)}
		},
	}
}

// closingWrap is a publisher in which Publish and Close do something else.
type closingWrap struct {
	publishing
	close func() error
}

// Close implements messaging.Publisher.
func (p closingWrap) Close() error { return p.close() }

// postpones makes mutants that keep the last message of one call in so many
// for the next call. flush says whether Close sends it.
func postpones(every int, own, flush bool) func(*Target) *wrapping {
	return func(*Target) *wrapping {
		var count nth
		return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
			var mu sync.Mutex
			var kept []messaging.Message
			send := func(ctx context.Context, ms []messaging.Message) error {
				mu.Lock()
				before := kept
				kept = nil
				if n := len(ms); n > 0 && ctx.Err() == nil && len(ms[n-1].Body) < huge && count.in(every) {
					last := ms[n-1]
					if own {
						last = ownCopy(last)
					}
					kept, ms = append(kept, last), ms[:n-1]
				}
				mu.Unlock()
				if len(before) > 0 {
					_ = p.Publish(context.WithoutCancel(ctx), before...)
				}
				return p.Publish(ctx, ms...)
			}
			return closingWrap{publishing{p, send}, func() error {
				if flush {
					_ = send(context.Background(), nil)
				}
				return p.Close()
			}}
		}}
	}
}

func mutantKeepsBuffers(t *Target) *wrapping { return postpones(10, false, true)(t) }
func mutantCloseDrops(t *Target) *wrapping   { return postpones(20, true, false)(t) }

func mutantNilAtOnce(*Target) *wrapping {
	return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
		var wg sync.WaitGroup
		return closingWrap{publishing{p, func(ctx context.Context, ms []messaging.Message) error {
			if ctx.Err() != nil {
				return p.Publish(ctx, ms...)
			}
			ms = slices.Clone(ms)
			for i := range ms {
				ms[i] = ownCopy(ms[i])
			}
			done := make(chan error, 1)
			wg.Go(func() { done <- p.Publish(context.WithoutCancel(ctx), ms...) })
			t := time.NewTimer(10 * time.Millisecond)
			defer t.Stop()
			select {
			case err := <-done:
				return err
			case <-t.C:
				return nil
			}
		}}, func() error {
			err := p.Close()
			wg.Wait()
			return err
		}}
	}}
}

func mutantCloseDoesNotWait(*Target) *wrapping {
	return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
		var mu sync.Mutex
		var under sync.WaitGroup
		closed := false
		publish := func(ctx context.Context, ms []messaging.Message) error {
			mu.Lock()
			if closed {
				mu.Unlock()
				return messaging.ErrClosed
			}
			under.Add(1)
			mu.Unlock()
			defer under.Done()
			return p.Publish(ctx, ms...)
		}
		return closingWrap{publishing{p, publish}, func() error {
			mu.Lock()
			defer mu.Unlock()
			if !closed {
				closed = true
				go func() { under.Wait(); _ = p.Close() }()
			}
			return nil
		}}
	}}
}

func mutantCloseIsNil(*Target) *wrapping {
	return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
		return closingWrap{publishing{p, func(ctx context.Context, ms []messaging.Message) error { return p.Publish(ctx, ms...) }}, func() error {
			_ = p.Close()
			return nil
		}}
	}}
}

func mutantSendsClosed(*Target) *wrapping {
	w := &wrapping{}
	w.publisher = func(p messaging.Publisher, u *url.URL) messaging.Publisher {
		return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
			err := p.Publish(ctx, ms...)
			if errors.Is(err, messaging.ErrClosed) {
				if spare, failed := w.Backend.OpenPublisher(ctx, u); failed == nil {
					_ = spare.Publish(ctx, ms...)
					_ = spare.Close()
				}
			}
			return err
		}}
	}
	return w
}

func mutantHitsNext(*Target) *wrapping {
	return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
		var mu sync.Mutex
		hit := false
		return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
			mu.Lock()
			now := hit && ctx.Err() == nil
			hit = false
			mu.Unlock()
			if now {
				return errors.New("connection reset")
			}
			err := p.Publish(ctx, ms...)
			mu.Lock()
			hit = err != nil
			mu.Unlock()
			return err
		}}
	}}
}
