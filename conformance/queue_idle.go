package conformance

import (
	"sort"
	"time"
)

// span is a stretch of time.
type span struct{ from, to time.Duration }

// watch is the state of the sweep that finds when a group was idle: at least
// one of its sessions waited in Receive with room in its window, and no other
// could have had a message that it did not show. A session that does not call
// Receive may have fetched up to its window, and one that died may have done
// so until its lease is over.
type watch struct {
	q        *queueView
	sessions []watchedSession
	groups   []watchedGroup
	faults   int
	short    time.Duration // the shortest stretch that shows something
	freed    []bool        // of each delivery
	shares   []int         // of each session, deliveries while another held some, too
}

type watchedSession struct {
	up, frozen bool
	pending    int // Receives
	held       int // deliveries
}

type watchedGroup struct {
	waiting, hiding int // sessions
	holders         int // sessions that hold something
	since           time.Duration
	hidden          time.Duration // until then a dead session may have hidden something
	shared          int
	members         []int
}

// sweep fills in q.idle, q.shared and q.last.
func (q *queueView) sweep() {
	w := &watch{
		q: q, sessions: make([]watchedSession, len(q.Sessions)), groups: make([]watchedGroup, len(q.names)),
		freed: make([]bool, len(q.Deliveries)), shares: make([]int, len(q.Sessions)),
	}
	q.idle, q.shared, q.last = make([][]span, len(q.names)), make([]int, len(q.names)), make([]time.Duration, len(q.names))
	w.short = q.Timing.Redelivery
	for i := range q.Sessions {
		if l := q.Sessions[i].Lease; l > 0 {
			w.short = min(w.short, l/4)
		}
	}
	ofLost := map[int][]int{}
	for k := range q.Deliveries {
		if d := &q.Deliveries[k]; d.Lost >= 0 {
			ofLost[d.Lost] = append(ofLost[d.Lost], k)
		}
	}
	for s, g := range q.group {
		if g >= 0 {
			w.groups[g].members = append(w.groups[g].members, s)
		}
	}
	var now time.Duration
	for i := range q.Events {
		e := &q.Events[i]
		now = e.At
		if e.Kind == Fault && disturbs[e.Text] {
			w.disturb(e)
			continue
		}
		if e.Session < 1 || e.Session > len(q.Sessions) || q.group[e.Session-1] < 0 {
			continue
		}
		w.step(i, e, ofLost)
	}
	for g := range w.groups {
		w.pause(g, now)
		q.shared[g] = w.contended(g)
	}
}

// contended is how many deliveries came to a group while two of its sessions
// held something; where the second had less than 30 % of them, it is as many
// as that would be 30 % of.
func (w *watch) contended(g int) int {
	first, second := 0, 0
	for _, s := range w.groups[g].members {
		switch n := w.shares[s]; {
		case n > first:
			first, second = n, first
		case n > second:
			second = n
		}
	}
	return min(w.groups[g].shared, second*10/3)
}

func (w *watch) disturb(e *Event) {
	if e.Phase == Invoke {
		w.faults++
	} else if w.faults > 0 {
		w.faults--
	}
	for g := range w.groups {
		w.pause(g, e.At)
		w.groups[g].hidden = max(w.groups[g].hidden, e.At+w.q.Timing.Reconnect)
	}
}

// pause ends the stretch of time in which a group was idle, if it was, and
// may begin the next. What is too short to show anything is left out.
func (w *watch) pause(g int, now time.Duration) {
	gr := &w.groups[g]
	if from := max(gr.since, gr.hidden); gr.idle() && w.faults == 0 && now-from >= w.short {
		w.q.idle[g] = append(w.q.idle[g], span{from, now})
	}
	gr.since = now
}

func (gr *watchedGroup) idle() bool { return gr.waiting > 0 && gr.hiding == 0 }

// step takes one event of a session.
func (w *watch) step(i int, e *Event, ofLost map[int][]int) {
	s := e.Session - 1
	g := w.q.group[s]
	var held *Delivery
	if e.Delivery > 0 && e.Delivery <= len(w.q.Deliveries) {
		held = &w.q.Deliveries[e.Delivery-1]
	}
	switch {
	case e.Kind == Open && e.Phase == OK:
		w.change(g, s, e.At, func(x *watchedSession) { x.up = true })
	case e.Kind == Close && e.Phase == Invoke:
		w.change(g, s, e.At, func(x *watchedSession) { x.up, x.held = false, 0 })
	case e.Kind == Crash, e.Kind == Freeze:
		w.pause(g, e.At)
		w.groups[g].hidden = max(w.groups[g].hidden, e.At+w.q.Sessions[s].Lease)
		w.change(g, s, e.At, func(x *watchedSession) {
			if x.frozen = true; e.Kind == Crash {
				x.up, x.held = false, 0
			}
		})
	case e.Kind == Thaw:
		w.change(g, s, e.At, func(x *watchedSession) { x.frozen = false })
	case e.Kind == Receive && e.Phase == Invoke:
		w.change(g, s, e.At, func(x *watchedSession) { x.pending++ })
	case e.Kind == Receive:
		w.q.last[g] = e.At
		if e.Phase == OK {
			w.pause(g, e.At) // the broker had something else to deliver
		}
		w.change(g, s, e.At, func(x *watchedSession) { x.pending-- })
	case e.Kind == Deliver && held != nil && held.Event == i:
		w.change(g, s, e.At, func(x *watchedSession) { x.held++ })
		if gr := &w.groups[g]; gr.holders > 1 && w.sessions[s].held > 0 {
			gr.shared++
			w.shares[s]++
		}
	case e.Kind == Lost:
		for _, k := range ofLost[i] {
			w.free(k, e.At)
		}
	case held != nil && held.Event >= 0 && (e.Kind == Ack || e.Kind == Nack || e.Kind == Release) && (e.Phase == OK || e.Code == LostError):
		w.free(e.Delivery-1, e.At)
	}
}

// free takes a delivery out of its session's window.
func (w *watch) free(k int, at time.Duration) {
	s := w.q.Deliveries[k].Session - 1
	if w.freed[k] || w.q.group[s] < 0 || w.sessions[s].held == 0 {
		return
	}
	w.freed[k] = true
	w.change(w.q.group[s], s, at, func(x *watchedSession) { x.held-- })
}

// change changes a session's state, and its group's with it.
func (w *watch) change(g, s int, now time.Duration, f func(*watchedSession)) {
	gr, x := &w.groups[g], &w.sessions[s]
	before := *gr
	w.count(gr, s, -1)
	f(x)
	w.count(gr, s, +1)
	if before.idle() != gr.idle() {
		after := *gr
		gr.waiting, gr.hiding = before.waiting, before.hiding
		w.pause(g, now)
		gr.waiting, gr.hiding = after.waiting, after.hiding
	}
}

func (w *watch) count(gr *watchedGroup, s, n int) {
	x := &w.sessions[s]
	window := w.q.Sessions[s].Window
	if x.held > 0 {
		gr.holders += n
	}
	switch {
	case !x.up, x.frozen, window > 0 && x.held >= window:
	case x.pending > 0:
		gr.waiting += n
	default:
		gr.hiding += n
	}
}

// waited says whether within (from, to) the group was idle for longer than d:
// what was there for it from from on and had not come at to, is late.
func (q *queueView) waited(g int, from, to, d time.Duration) bool {
	spans := q.idle[g]
	i := sort.Search(len(spans), func(i int) bool { return spans[i].to > from+d })
	for ; i < len(spans) && spans[i].from < to; i++ {
		if min(spans[i].to, to)-max(spans[i].from, from) > d {
			return true
		}
	}
	return false
}
