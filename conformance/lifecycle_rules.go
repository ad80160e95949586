package conformance

import (
	"slices"
	"strings"
)

// lifecycleRules are L01 to L10, but those that judge Consume.
func lifecycleRules() []*Rule {
	return []*Rule{
		{
			ID: "L01", Name: "DemandBound", Flavour: ForBoth, Core: true,
			Sentence: "What is unsettled never exceeds the window and reaches it, in all for a queue and per partition for a stream; what lies beyond it is free for others, and a full partition holds up only itself.",
			Cells:    map[string]Evidence{"none": {"windows filled": 30}},
			check:    checkWindow,
		},
		{
			ID: "L02", Name: "PauseResume", Flavour: ForBoth, Core: true,
			Sentence: "While nobody calls Receive nothing more is delivered, leases are kept, and going on loses and reorders nothing.",
			Cells:    map[string]Evidence{"F11": {"kept over a pause": 100}},
			check:    checkPauseResume,
		},
		{
			ID: "L05", Name: "CloseIdempotent", Flavour: ForBoth, Core: true,
			Sentence: "Close may be called again and at the same time; then every call is ErrClosed, but a Release, which is nil.",
			Cells:    map[string]Evidence{"none": {"closed again": 50, "calls after close": 200}},
			check:    checkClosed,
		},
		{
			ID: "L06", Name: "Reconnect", Flavour: ForBoth, Core: true,
			Sentence: "When a fault is over, and when nothing came for long, publishing and delivery go on by themselves; a permanent error surfaces.",
			Cells:    map[string]Evidence{"none": {"resumed": 3}, "F3": {"resumed": 5}, "F6": {"resumed": 5}},
			check:    checkReconnect,
		},
		{
			ID: "L07", Name: "NoLeak", Flavour: ForBoth, Core: true,
			Sentence: "What was opened and closed leaves no goroutine behind.",
			Cells:    map[string]Evidence{"none": {"opened and closed": 100}},
			check:    checkNoLeak,
		},
		{
			ID: "L08", Name: "ReceiveShape", Flavour: ForBoth, Core: true,
			Sentence: "Receive returns 1 to max deliveries or an error, never both and never neither.",
			Cells:    map[string]Evidence{"none": {"received": 2301, "failed": 20}, "F6": {"received": 5}},
			check:    checkReceiveShape,
		},
		{
			ID: "L09", Name: "Ctx", Flavour: ForBoth, Core: true,
			Sentence: "Every call ends when its context does, or Close, also when it is blocked; a Receive that was cancelled loses and skips nothing.",
			Cells:    map[string]Evidence{"none": {"calls ended": 40, "cancelled receives": 50}, "F6": {"calls ended": 6}},
			check:    checkCtx,
		},
		{
			ID: "L10", Name: "ClearRefusal", Flavour: ForBoth, Core: true,
			Sentence: "A foreign or nil delivery, a second settle, a max below 1, a second receiver of a stream, an unknown parameter and a bad value are errors at once, without a panic, and change nothing; no error contains the password of its URL.",
			Cells:    map[string]Evidence{"none": {"refused": 12}},
			check:    checkRefusals,
		},
	}
}

// windowOf is what a window is counted over.
type windowOf struct {
	session   int
	partition string // "" on a queue
}

// checkWindow counts a delivery from when it was recorded until its first
// settle was invoked, which is at most what the subscriber counts.
func checkWindow(v *View, f *Finding) {
	windows := map[windowOf]*heldWindow{}
	at := func(d *Delivery) *heldWindow {
		h := windowOf{session: d.Session}
		if v.Sessions[d.Session-1].Role == RoleStream {
			h.partition = v.Events[d.Event].Partition
		}
		if windows[h] == nil {
			windows[h] = &heldWindow{v: v, free: map[int]bool{}}
		}
		return windows[h]
	}
	for i := range v.Events {
		e := &v.Events[i]
		if e.Delivery < 1 || e.Delivery > len(v.Deliveries) || v.Deliveries[e.Delivery-1].Event < 0 {
			continue
		}
		d := &v.Deliveries[e.Delivery-1]
		switch h := at(d); {
		case e.Kind == Deliver && d.Event == i:
			if window := v.Sessions[d.Session-1].Window; h.add(e.Delivery-1, i, window) > window && window > 0 {
				f.violate([]int{i}, "%d deliveries are unsettled, with a window of %d", h.n, window)
			}
		case e.Phase == Invoke:
			h.settle(e.Kind, e.Delivery-1, d)
		}
	}
	f.count("windows filled", int(v.Facts["windows filled"]))
	if n := v.Facts["windows not filled"]; n > 0 {
		f.violate(v.notes("windows not filled"), "%d times a subscriber got less than its window although there was more", n)
	}
}

// heldWindow is what fills a window.
type heldWindow struct {
	v    *View
	n    int
	held []int // places in Deliveries, in their order; some may be free already
	free map[int]bool
}

// add adds delivery k, which came with event i, and returns how many there
// are. Where that is too many, those do not count whose lease was lost.
func (h *heldWindow) add(k, i, window int) int {
	h.held = append(h.held, k)
	if h.n++; h.n > window {
		h.held = slices.DeleteFunc(h.held, func(k int) bool {
			if lost := h.v.Deliveries[k].Lost; lost >= 0 && lost < i {
				h.release(k)
			}
			return h.free[k]
		})
	}
	return h.n
}

func (h *heldWindow) release(k int) {
	if !h.free[k] {
		h.free[k] = true
		h.n--
	}
}

// settle takes out of the window what a settle of delivery k, which is d, may
// take out: of a stream, a Commit all before it, and a Release all.
func (h *heldWindow) settle(kind Kind, k int, d *Delivery) {
	h.release(k)
	if h.v.Sessions[d.Session-1].Role != RoleStream || kind != Commit && kind != Release {
		return
	}
	n := 0
	for n < len(h.held) && (kind == Release || h.v.Deliveries[h.held[n]].Event <= d.Event) {
		h.release(h.held[n])
		n++
	}
	h.held = h.held[n:]
}

// checkPauseResume judges sessions that did not receive for a while.
func checkPauseResume(v *View, f *Finding) {
	type ofSession struct {
		session int
		id      string
	}
	seen := map[ofSession]int{}
	for k := range v.Deliveries {
		d := &v.Deliveries[k]
		if d.Event < 0 {
			continue
		}
		e := &v.Events[d.Event]
		key := ofSession{0, e.ID}
		if before, ok := seen[key]; ok {
			f.violate([]int{before, d.Event}, "what was held while nobody received came again")
		}
		seen[key] = d.Event
		if d.Lost >= 0 && (len(d.Settles) == 0 || d.Settles[0].Invoke > d.Lost) {
			f.violate([]int{d.Event, d.Lost}, "a lease was lost while nobody received")
		}
		if s := d.Tried(Ack, Commit); s != nil && s.Code == LostError {
			f.violate([]int{d.Event, s.Outcome}, "what was held while nobody received could not be settled")
		} else if s != nil && s.Phase == OK {
			f.count("kept over a pause", 1)
		}
	}
}

// checkClosed judges every call that was invoked after the session was
// closed.
func checkClosed(v *View, f *Finding) {
	closed := map[int]int{}
	callClosed := map[int]bool{} // calls that were invoked after that
	for i := range v.Events {
		e := &v.Events[i]
		if e.Session < 1 || e.Call == 0 {
			continue
		}
		at, isClosed := closed[e.Session]
		switch {
		case e.Phase == Invoke:
			callClosed[e.Call] = callClosed[e.Call] || isClosed
		case e.Kind == Close && e.Phase == OK && !callClosed[e.Call]:
			closed[e.Session] = i
			if isClosed {
				f.count("closed again", 1) // at the same time
			}
		case e.Kind == Close && callClosed[e.Call]:
			f.count("closed again", 1)
			if e.Phase != OK {
				f.violate([]int{at, i}, "a second Close returned an error")
			}
		case !callClosed[e.Call] || e.Kind == Deliver:
		case e.Kind == Release && e.Phase != OK:
			f.violate([]int{at, i}, "a Release after Close is not nil")
		case e.Kind != Release && e.Code != Closed && e.Code != Canceled && e.Code != Deadline:
			f.violate([]int{at, i}, "a %s after Close is not ErrClosed", e.Kind)
		default:
			f.count("calls after close", 1)
		}
	}
}

// checkReconnect looks at what a scenario tried when a fault was over.
func checkReconnect(v *View, f *Finding) {
	f.count("resumed", int(v.Facts["resumed"]))
	if n := v.Facts["not resumed"]; n > 0 {
		f.violate(v.notes("not resumed"), "%d times publishing or delivery did not go on in time, after a fault or when all had been idle", n)
	}
	if n := v.Facts["permanent error hidden"]; n > 0 {
		f.violate(v.notes("permanent"), "a permanent error did not surface")
	}
}

// notes returns the events of notes that begin so.
func (v *View) notes(begin string) []int {
	var at []int
	for i := range v.Events {
		if v.Events[i].Kind == Note && strings.HasPrefix(v.Events[i].Text, begin) {
			at = append(at, i)
		}
	}
	return at
}

func checkNoLeak(v *View, f *Finding) {
	f.count("opened and closed", int(v.Facts["opened and closed"]))
	if n := v.Facts["goroutines left"]; n > 0 {
		f.violate(v.notes("goroutine"), "%d goroutines are left after everything was closed", n)
	}
}

func checkReceiveShape(v *View, f *Finding) {
	asked := map[int]int{} // by call
	for i := range v.Events {
		e := &v.Events[i]
		switch {
		case e.Kind == Note && e.Text == "a nil delivery":
			f.violate([]int{i}, "Receive returned a nil delivery")
		case e.Kind != Receive:
		case e.Phase == Invoke:
			asked[e.Call] = e.Max
		case e.Max == 0 && (e.Phase == OK || e.Code == Nonsense):
			f.violate([]int{i}, "Receive returned neither deliveries nor an error")
		case e.Phase == OK && e.Max > asked[e.Call]:
			f.violate([]int{i}, "Receive returned %d deliveries when it was asked for %d", e.Max, asked[e.Call])
		case e.Phase == OK:
			f.count("received", 1)
		case e.Max > 0:
			f.violate([]int{i}, "Receive returned deliveries and an error")
		default:
			f.count("failed", 1)
		}
	}
}

func checkCtx(v *View, f *Finding) {
	f.count("calls ended", int(v.Facts["calls ended"]))
	f.count("cancelled receives", int(v.Facts["cancelled receives"]))
	if n := v.Facts["calls late"]; n > 0 {
		f.violate(v.notes("late:"), "%d calls did not end with their context or with Close", n)
	}
	if n := v.Facts["lost by cancelled receives"]; n > 0 {
		f.violate(v.notes("missing:"), "%d messages did not come within their time after Receives that were cancelled", n)
	}
}

func checkRefusals(v *View, f *Finding) {
	f.count("refused", int(v.Facts["refused"]))
	if n := v.Facts["not refused"]; n > 0 {
		f.violate(v.notes("not refused:"), "%d times bad input was not refused as it should be", n)
	}
}
