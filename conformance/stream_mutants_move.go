package conformance

import (
	"cmp"
	"context"
	"net/url"
	"sync"

	"github.com/fa5182d2/messaging"
)

// Mutants that hand over, set back or replay wrongly.

// mutantReadAhead reads ahead and delivers it later, whatever has happened.
func mutantReadAhead(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		var ahead []*messaging.Delivery
		return &streamWrap{StreamSubscriber: s, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
			if len(ahead) > 0 && max > 0 && ctx.Err() == nil {
				ds := ahead[:min(max, len(ahead))]
				ahead = ahead[len(ds):]
				return ds, nil
			}
			ds, err := s.Receive(ctx, max)
			if n := len(ds); n > 2 {
				ds, ahead = ds[:n-1], ds[n-1:]
			}
			return ds, err
		}}
	}}
}

// replaceLeases replaces the leases of deliveries by others, with another epoch
// if that is not "".
func replaceLeases(s messaging.StreamSubscriber, epoch string, follow func(inner, outer *messaging.Lease)) *streamWrap {
	outer := map[*messaging.Lease]*messaging.Lease{}
	return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
		for _, d := range ds {
			inner := d.Lease
			if outer[inner] == nil {
				outer[inner] = &messaging.Lease{Epoch: cmp.Or(epoch, inner.Epoch)}
				if follow != nil {
					go follow(inner, outer[inner])
				}
			}
			d.Lease = outer[inner]
		}
		return ds
	})
}

// mutantNeverLost loses no lease.
func mutantNeverLost(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return replaceLeases(s, "", nil)
	}}
}

// mutantOneEpoch gives all owners one epoch.
func mutantOneEpoch(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return replaceLeases(s, "1", func(inner, outer *messaging.Lease) {
			<-inner.Ending()
			outer.End()
			<-inner.Lost()
			outer.Lose()
		})
	}}
}

// mutantNoWarning loses leases when they are Ending.
func mutantNoWarning(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return replaceLeases(s, "", func(inner, outer *messaging.Lease) {
			<-inner.Ending()
			outer.Lose()
		})
	}}
}

// mutantReleaseNothing gives nothing back.
func mutantReleaseNothing(*Target) *wrapping {
	return mutantReleases(func(context.Context, messaging.StreamSubscriber, []*messaging.Delivery) error { return nil })
}

// mutantReleaseFirst gives back the first argument of each partition.
func mutantReleaseFirst(*Target) *wrapping {
	return mutantReleases(func(ctx context.Context, s messaging.StreamSubscriber, ds []*messaging.Delivery) error {
		seen := map[string]bool{}
		var firsts []*messaging.Delivery
		for _, d := range ds {
			if !seen[d.Partition] {
				seen[d.Partition] = true
				firsts = append(firsts, d)
			}
		}
		return forgiven(s.Release(ctx, firsts...), ds, func(error, *messaging.Delivery) bool { return true })
	})
}

func mutantReleases(release func(context.Context, messaging.StreamSubscriber, []*messaging.Delivery) error) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
		return &streamWrap{StreamSubscriber: s, release: func(ctx context.Context, ds []*messaging.Delivery) error {
			return release(ctx, s, ds)
		}}
	}}
}

// mutantReplayMoves moves groups that have no member when somebody who reads
// alone commits.
func mutantReplayMoves(t *Target) *wrapping {
	backend := t.Backend.(messaging.StreamBackend)
	var mu sync.Mutex
	members, urls := map[string]int{}, map[string]*url.URL{}
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if key := u.Host + " " + u.Query().Get("group"); grouped(u, nil) {
			mu.Lock()
			members[key]++
			urls[key] = u
			mu.Unlock()
			return &streamWrap{StreamSubscriber: s, close: func() error {
				mu.Lock()
				members[key]--
				mu.Unlock()
				return s.Close()
			}}
		}
		return &streamWrap{StreamSubscriber: s, commit: func(ctx context.Context, ds []*messaging.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			for key, n := range members {
				if n > 0 {
					continue
				}
				if idle, err := backend.OpenStream(ctx, urls[key]); err == nil {
					if ds, err := idle.Receive(ctx, 3); err == nil {
						_ = idle.Commit(ctx, ds...)
					}
					_ = idle.Close()
				}
			}
			return s.Commit(ctx, ds...)
		}}
	}}
}
