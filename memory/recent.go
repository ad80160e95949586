package memory

import (
	"strings"
	"time"
)

// recent remembers the ids that a channel stored within the window of dedup=.
// The window of an id starts when it was stored first and is not extended by
// its repetitions. The channel's mutex guards it.
type recent struct {
	window time.Duration
	start  time.Time
	ids    map[string]struct{}
	order  deque[stored]
}

type stored struct {
	id string
	at time.Duration
}

// newRecent returns nil without a window.
func newRecent(window time.Duration) *recent {
	if window == 0 {
		return nil
	}
	return &recent{window: window, start: time.Now(), ids: map[string]struct{}{}}
}

// fresh returns the records whose ids were not stored within the window, in
// the array of recs, and remembers them.
func (r *recent) fresh(recs []*record) []*record {
	now := time.Since(r.start)
	for r.order.len() > 0 && now-r.order.at(0).at >= r.window {
		delete(r.ids, r.order.pop().id)
	}
	fresh := recs[:0]
	for _, rec := range recs {
		if _, ok := r.ids[rec.identity()]; ok {
			continue
		}
		id := strings.Clone(rec.identity()) // the caller's is only lent
		r.ids[id] = struct{}{}
		r.order.push(stored{id, now})
		fresh = append(fresh, rec)
	}
	return fresh
}
