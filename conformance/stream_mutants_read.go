package conformance

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// Mutants that store or deliver wrongly.

// mutantSwapsValues exchanges what two neighbours carry.
func mutantSwapsValues(whom func(*url.URL, *messaging.Delivery) bool) func(*Target) *wrapping {
	return func(*Target) *wrapping {
		var pairs nth
		return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
			return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
				for i := 1; i < len(ds); i++ {
					if a, b := ds[i-1], ds[i]; a.Partition == b.Partition && whom(u, a) && whom(u, b) && pairs.in(50) {
						a.Message, b.Message = b.Message, a.Message
					}
				}
				return ds
			})
		}}
	}
}

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

// mutantRereads delivers a message twice.
func mutantRereads(*Target) *wrapping {
	var got nth
	return &wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
		var again *messaging.Delivery
		return &streamWrap{StreamSubscriber: s, receive: func(ctx context.Context, most int) ([]*messaging.Delivery, error) {
			if again != nil && most > 0 && ctx.Err() == nil {
				ds := []*messaging.Delivery{again}
				again = nil
				return ds, nil
			}
			ds, err := s.Receive(ctx, most)
			for _, d := range ds[max(0, len(ds)-1):] {
				if got.in(50) {
					copied := *d
					again = &copied
				}
			}
			return ds, err
		}}
	}}
}

// mutantSwapsNeighbours delivers two messages in the wrong order.
func mutantSwapsNeighbours(*Target) *wrapping {
	var pairs nth
	return &wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			for i := 1; i < len(ds); i++ {
				if ds[i-1].Partition == ds[i].Partition && pairs.in(200) {
					ds[i-1], ds[i] = ds[i], ds[i-1]
				}
			}
			return ds
		})
	}}
}

// without returns ds without those of which drop says so.
func without(ds []*messaging.Delivery, drop func(*messaging.Delivery) bool) []*messaging.Delivery {
	return slices.DeleteFunc(ds, drop)
}

// mutantSkips drops deliveries to groups.
func mutantSkips(*Target) *wrapping {
	var got nth
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			return without(ds, func(*messaging.Delivery) bool { return got.in(500) })
		})
	}}
}

// mutantSkipsBeside drops deliveries while a group has two members or more.
func mutantSkipsBeside(*Target) *wrapping {
	var got nth
	var members atomic.Int64
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		members.Add(1)
		w := changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			return without(ds, func(*messaging.Delivery) bool { return members.Load() > 1 && got.in(300) })
		})
		w.close = func() error { members.Add(-1); return s.Close() }
		return w
	}}
}

// mutantSkipsAfterRelease drops what follows the first redelivery of a Release.
func mutantSkipsAfterRelease(*Target) *wrapping {
	var releases nth
	return &wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
		var mu sync.Mutex
		armed := map[string]int{} // by partition: how many to deliver until the one that is dropped
		w := changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			mu.Lock()
			defer mu.Unlock()
			return without(ds, func(d *messaging.Delivery) bool {
				n := armed[d.Partition]
				armed[d.Partition] = n - 1
				return n == 1
			})
		})
		w.release = func(ctx context.Context, ds []*messaging.Delivery) error {
			if err := s.Release(ctx, ds...); err != nil || !releases.in(10) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			armed[ds[0].Partition] = 2
			return nil
		}
		return w
	}}
}

// mutantTrimmedInSilence opens every stream with trimmed=skip.
func mutantTrimmedInSilence(*Target) *wrapping {
	return &wrapping{url: func(u *url.URL) *url.URL {
		q := u.Query()
		q.Set("trimmed", "skip")
		u.RawQuery = q.Encode()
		return u
	}}
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

// mutantUnmarked delivers nothing as Redelivered.
func mutantUnmarked(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			for _, d := range ds {
				d.Redelivered = false
			}
			return ds
		})
	}}
}

// mutantResumesLate drops the first message of a hold, but of the first one of
// its partition.
func mutantResumesLate(*Target) *wrapping {
	var moves nth
	var mu sync.Mutex
	known := map[*messaging.Lease]bool{}
	owned := map[string]bool{}
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			mu.Lock()
			defer mu.Unlock()
			return without(ds, func(d *messaging.Delivery) bool {
				key := u.Host + " " + d.Partition
				first, moved := !known[d.Lease], owned[key]
				known[d.Lease], owned[key] = true, true
				return first && moved && moves.in(4)
			})
		})
	}}
}

// mutantOrphans delivers nothing of partition 1 but to its first owner.
func mutantOrphans(*Target) *wrapping {
	var mu sync.Mutex
	var first *messaging.Lease
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			mu.Lock()
			defer mu.Unlock()
			return without(ds, func(d *messaging.Delivery) bool {
				if d.Partition != "1" {
					return false
				}
				if first == nil {
					first = d.Lease
				}
				return d.Lease != first
			})
		})
	}}
}

// mutantLateOwner sets back what a new hold delivers, for a minute.
func mutantLateOwner(*Target) *wrapping {
	var mu sync.Mutex
	begins := map[*messaging.Lease]time.Time{}
	owned := map[string]bool{}
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return &streamWrap{StreamSubscriber: s, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			for {
				ds, err := s.Receive(ctx, max)
				if err != nil {
					return nil, err
				}
				mu.Lock()
				var early []*messaging.Delivery
				ds = without(ds, func(d *messaging.Delivery) bool {
					if _, known := begins[d.Lease]; !known {
						begins[d.Lease] = time.Now()
						if key := u.Host + " " + d.Partition; owned[key] {
							begins[d.Lease] = time.Now().Add(time.Minute)
						} else {
							owned[key] = true
						}
					}
					if time.Now().Before(begins[d.Lease]) {
						early = append(early, d)
						return true
					}
					return false
				})
				mu.Unlock()
				if len(early) > 0 {
					_ = s.Release(ctx, early...)
				}
				if len(ds) > 0 {
					return ds, nil
				}
				if err := pause(ctx, time.Second); err != nil {
					return nil, err
				}
			}
		}}
	}}
}
