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

// Mutants that deliver wrongly.

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
