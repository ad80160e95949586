package conformance

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fa5182d2/messaging"
)

// Mutants that store wrongly, or begin at the wrong place.

// publishing is a publisher in which something else is done.
type publishing struct {
	messaging.Publisher
	publish func(ctx context.Context, ms []messaging.Message) error
}

// Publish implements messaging.Publisher.
func (p publishing) Publish(ctx context.Context, ms ...messaging.Message) error {
	return p.publish(ctx, ms)
}

// mutantStoresTwice publishes some messages again.
func mutantStoresTwice(*Target) *wrapping {
	var sent nth
	return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
		return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
			err := p.Publish(ctx, ms...)
			for i := range ms {
				if sent.in(500) {
					_ = p.Publish(ctx, ms[i])
				}
			}
			return err
		}}
	}}
}

// mutantStoresRetry publishes again while replies are lost.
func mutantStoresRetry(t *Target) *wrapping {
	var losing atomic.Bool
	if lose := t.Faults["F3"]; lose != nil {
		faults := map[string]func(context.Context) (func() int, error){}
		for name, f := range t.Faults {
			faults[name] = f
		}
		faults["F3"] = func(ctx context.Context) (func() int, error) {
			heal, err := lose(ctx)
			losing.Store(err == nil)
			return func() int { losing.Store(false); return heal() }, err
		}
		t.Faults = faults
	}
	var sent nth
	return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
		return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
			err := p.Publish(ctx, ms...)
			if losing.Load() && sent.in(20) {
				_ = p.Publish(ctx, ms...)
			}
			return err
		}}
	}}
}

// mutantDropsPublished acknowledges what it does not store.
func mutantDropsPublished(*Target) *wrapping {
	var sent nth
	return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
		return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
			kept := slices.Clone(ms)
			kept = slices.DeleteFunc(kept, func(messaging.Message) bool { return sent.in(500) })
			if len(kept) < len(ms) {
				_ = p.Publish(ctx, kept...)
				return nil
			}
			return p.Publish(ctx, ms...)
		}}
	}}
}

// mutantKeyStrays publishes some messages under another key, and delivers them
// under their own.
func mutantKeyStrays(*Target) *wrapping {
	var sent nth
	const mark = "\x00stray"
	return &wrapping{
		publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
			return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
				ms = slices.Clone(ms)
				for i := range ms {
					if ms[i].Key != "" && sent.in(200) {
						ms[i].Key += mark
					}
				}
				return p.Publish(ctx, ms...)
			}}
		},
		stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
			return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
				for _, d := range ds {
					if n := len(d.Key) - len(mark); n > 0 && d.Key[n:] == mark {
						d.Key = d.Key[:n]
					}
				}
				return ds
			})
		},
	}
}

// mutantMissesAdded drops the first messages of partitions that were added
// after the group was opened with start=latest.
func mutantMissesAdded(*Target) *wrapping {
	var mu sync.Mutex
	old := map[string]bool{} // partitions that an early reader saw, by channel
	missed := map[string]int{}
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		late := u.Query().Get("start") == "latest" && grouped(u, nil)
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			mu.Lock()
			defer mu.Unlock()
			return without(ds, func(d *messaging.Delivery) bool {
				key := u.Host + " " + d.Partition
				if len(d.Partition) == 1 && d.Partition < "4" {
					old[key] = true
				}
				if !late || old[key] || missed[key] >= 3 {
					return false
				}
				missed[key]++
				return true
			})
		})
	}}
}

// mutantLateLatest joins a group with start=latest only in the first Receive.
func mutantLateLatest(t *Target) *wrapping {
	w := &wrapping{}
	backend := t.Backend.(messaging.StreamBackend)
	w.url = func(u *url.URL) *url.URL {
		if q := u.Query(); q.Get("start") == "latest" && q.Has("group") {
			q.Del("group") // to have something until then
			u.RawQuery = q.Encode()
		}
		return u
	}
	w.stream = func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if u.Query().Get("start") != "latest" || !grouped(u, nil) {
			return s
		}
		late := &lateStream{StreamSubscriber: s}
		late.join = sync.OnceValue(func() messaging.StreamSubscriber {
			joined, err := backend.OpenStream(context.Background(), u)
			if err != nil {
				return s
			}
			return joined
		})
		return late
	}
	return w
}

// lateStream joins its group when it first receives.
type lateStream struct {
	messaging.StreamSubscriber
	join func() messaging.StreamSubscriber
	did  atomic.Bool
}

// Unwrap returns what hooks know.
func (s *lateStream) Unwrap() messaging.Subscriber {
	if s.did.Load() {
		return s.join()
	}
	return s.StreamSubscriber
}

// Receive implements messaging.Subscriber.
func (s *lateStream) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	s.did.Store(true)
	return s.join().Receive(ctx, max)
}

// Release implements messaging.Subscriber.
func (s *lateStream) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	return s.join().Release(ctx, ds...)
}

// Commit implements messaging.StreamSubscriber.
func (s *lateStream) Commit(ctx context.Context, ds ...*messaging.Delivery) error {
	return s.join().Commit(ctx, ds...)
}

// Close implements messaging.Subscriber.
func (s *lateStream) Close() error {
	if s.did.Load() {
		_ = s.join().Close()
	}
	return s.StreamSubscriber.Close()
}
