package conformance

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"

	"github.com/fa5182d2/messaging"
)

// Mutants that commit wrongly.

// hands is what a member has in hand, by lease, as a mutant sees it.
type hands struct {
	mu sync.Mutex
	of map[*messaging.Lease][]*messaging.Delivery
}

func (h *hands) add(ds []*messaging.Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[*messaging.Lease][]*messaging.Delivery{}
	}
	for _, d := range ds {
		h.of[d.Lease] = append(h.of[d.Lease], d)
	}
}

// beside returns the delivery so many places after d in its partition, or d.
func (h *hands) beside(d *messaging.Delivery, by int) *messaging.Delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	ds := h.of[d.Lease]
	for i := len(ds) - 1; i >= 0; i-- {
		if ds[i] == d && i+by >= 0 && i+by < len(ds) {
			return ds[i+by]
		}
	}
	return d
}

// mutantCommits changes what is committed.
func mutantCommits(change func(h *hands, ds []*messaging.Delivery)) func(*Target) *wrapping {
	return func(*Target) *wrapping {
		return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
			if !grouped(u, nil) {
				return s
			}
			var h hands
			w := changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery { h.add(ds); return ds })
			w.commit = func(ctx context.Context, ds []*messaging.Delivery) error {
				others := append([]*messaging.Delivery(nil), ds...)
				change(&h, others)
				return s.Commit(ctx, others...)
			}
			return w
		}}
	}
}

func mutantCommitsFurther(t *Target) *wrapping {
	var commits nth
	return mutantCommits(func(h *hands, ds []*messaging.Delivery) {
		for i, d := range ds {
			if commits.in(20) {
				ds[i] = h.beside(d, 1)
			}
		}
	})(t)
}

func mutantCommitsLess(t *Target) *wrapping {
	var commits nth
	return mutantCommits(func(h *hands, ds []*messaging.Delivery) {
		for i, d := range ds {
			if commits.in(10) {
				ds[i] = h.beside(d, -1)
			}
		}
	})(t)
}

// mutantCommitsOnDelivery commits what it delivers.
func mutantCommitsOnDelivery(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			_ = s.Commit(context.Background(), ds...)
			return ds
		})
	}}
}

// mutantChildFirst commits what it delivers of a partition that was split.
func mutantChildFirst(t *Target) *wrapping {
	var mu sync.Mutex
	gone := map[string]bool{}
	if split := t.Split; split != nil {
		t.Split = func(ctx context.Context, channel, partition string) error {
			mu.Lock()
			gone[partition] = true
			mu.Unlock()
			return split(ctx, channel, partition)
		}
	}
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return changed(s, func(ds []*messaging.Delivery) []*messaging.Delivery {
			mu.Lock()
			defer mu.Unlock()
			for _, d := range ds {
				if gone[d.Partition] {
					_ = s.Commit(context.Background(), d)
				}
			}
			return ds
		})
	}}
}

// forgiven is err without the places that forgive says are none.
func forgiven(err error, ds []*messaging.Delivery, forgive func(error, *messaging.Delivery) bool) error {
	if err == nil {
		return nil
	}
	errs, bad := make([]error, len(ds)), false
	for i, d := range ds {
		if one := messaging.ErrorAt(err, i); one != nil && !forgive(one, d) {
			errs[i], bad = one, true
		}
	}
	if !bad {
		return nil
	}
	return &messaging.BatchError{Errs: errs}
}

// isLost says whether a lease is known to be lost.
func isLost(l *messaging.Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

// mutantNoFencing tells former owners that they have committed.
func mutantNoFencing(*Target) *wrapping {
	return mutantForgives(func(err error, d *messaging.Delivery) bool {
		return errors.Is(err, messaging.ErrLost) && isLost(d.Lease)
	})
}

// mutantCommitsVoid tells that it has committed what was set back.
func mutantCommitsVoid(*Target) *wrapping {
	return mutantForgives(func(err error, d *messaging.Delivery) bool {
		return errors.Is(err, messaging.ErrLost) && !isLost(d.Lease)
	})
}

func mutantForgives(forgive func(error, *messaging.Delivery) bool) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
		return &streamWrap{StreamSubscriber: s, commit: func(ctx context.Context, ds []*messaging.Delivery) error {
			return forgiven(s.Commit(ctx, ds...), ds, forgive)
		}}
	}}
}

// mutantAllOrNothing makes one lost place the outcome of all.
func mutantAllOrNothing(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
		return &streamWrap{StreamSubscriber: s, commit: func(ctx context.Context, ds []*messaging.Delivery) error {
			if err := s.Commit(ctx, ds...); errors.Is(err, messaging.ErrLost) {
				return messaging.ErrLost
			} else {
				return err
			}
		}}
	}}
}

// mutantLastCommitWins keeps of each partition the last Commit, which may be
// lower, and applies it when it closes.
func mutantLastCommitWins(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		var mu sync.Mutex
		last := map[string]*messaging.Delivery{}
		return &streamWrap{
			StreamSubscriber: s,
			commit: func(_ context.Context, ds []*messaging.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				high := map[string]*messaging.Delivery{} // of this call
				for _, d := range ds {
					if h := high[d.Partition]; h == nil || h.Offset.Compare(d.Offset) < 0 {
						high[d.Partition] = d
					}
				}
				for partition, d := range high {
					last[partition] = d
				}
				return nil
			},
			close: func() error {
				mu.Lock()
				defer mu.Unlock()
				for _, d := range last {
					_ = s.Commit(context.Background(), d)
				}
				return s.Close()
			},
		}
	}}
}

// mutantTextOrder leaves out Commits that are lower as text.
func mutantTextOrder(*Target) *wrapping {
	var mu sync.Mutex
	last := map[string]messaging.Offset{} // by URL and partition
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		return &streamWrap{StreamSubscriber: s, commit: func(ctx context.Context, ds []*messaging.Delivery) error {
			if slices.Contains(ds, nil) {
				return s.Commit(ctx, ds...)
			}
			var higher []*messaging.Delivery
			mu.Lock()
			for _, d := range ds {
				if key := u.Query().Get("group") + u.Host + d.Partition; string(d.Offset) >= string(last[key]) {
					last[key] = d.Offset
					higher = append(higher, d)
				}
			}
			mu.Unlock()
			if len(higher) == len(ds) {
				return s.Commit(ctx, ds...)
			}
			_ = s.Commit(ctx, higher...)
			return nil
		}}
	}}
}

// mutantCommitWaits applies each Commit with the next one.
func mutantCommitWaits(*Target) *wrapping {
	return &wrapping{stream: func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		if !grouped(u, nil) {
			return s
		}
		turn := make(chan struct{}, 1)
		var waiting []*messaging.Delivery
		apply := func(next []*messaging.Delivery) {
			turn <- struct{}{}
			defer func() { <-turn }()
			_ = s.Commit(context.Background(), waiting...)
			waiting = next
		}
		return &streamWrap{
			StreamSubscriber: s,
			commit: func(_ context.Context, ds []*messaging.Delivery) error {
				apply(ds)
				return nil
			},
			close: func() error { apply(nil); return s.Close() },
		}
	}}
}
