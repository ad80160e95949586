package conformance

import (
	"math"
	"sort"
	"time"
)

// never is the place of an event that there is not.
const never = math.MaxInt

// queueView is what the rules of queues find out about a history together.
type queueView struct {
	*View
	group  []int       // of each session, by number; -1: it receives from no queue
	names  [][2]string // channel and name of each group
	solo   []bool      // groups that have had one session only
	lives  []life      // of each session
	holds  []hold      // of each delivery
	faults [][2]int    // from and to: what may have broken any connection
	idle   [][]span    // of each group, when everybody waited, see queue_idle.go
	shared []int       // of each group, deliveries while two sessions held some
	last   []time.Duration
}

// life is what ends or stops a session. Events; never where there is none.
type life struct {
	crash, close int
	closed       int // Close returned nil
	freezes      [][2]int
}

// hold is a queue's delivery as a claim on its message.
type hold struct {
	group      int
	prev, next int           // deliveries of the same message to the same group; -1: none
	start      time.Duration // its lease cannot have begun before
	settle     int           // the event that first tried to settle it
	excuse     int           // the first event that may end it otherwise: crash, close, freeze, a fault, its time
	lost       int
}

// end is the first event after which the message may be somebody else's.
func (h *hold) end() int { return min(h.settle, h.excuse, h.lost) }

// queues returns v with what the rules of queues need, made once.
func (v *View) queues() *queueView {
	v.queuesOnce.Do(func() { v.queuesView = newQueueView(v) })
	return v.queuesView
}

func newQueueView(v *View) *queueView {
	q := &queueView{View: v, group: make([]int, len(v.Sessions)), lives: make([]life, len(v.Sessions)), holds: make([]hold, len(v.Deliveries))}
	numbers := map[[2]string]int{}
	for i := range v.Sessions {
		s := &v.Sessions[i]
		q.lives[i] = life{crash: never, close: never, closed: never}
		if q.group[i] = -1; s.Role != RoleQueue {
			continue
		}
		name := [2]string{s.Channel, s.Group}
		g, ok := numbers[name]
		if !ok {
			g = len(q.names)
			numbers[name] = g
			q.names, q.solo = append(q.names, name), append(q.solo, true)
		} else {
			q.solo[g] = false
		}
		q.group[i] = g
	}
	q.live()
	last := map[[2]int]int{}
	for k := range v.Deliveries {
		q.hold(k, last)
	}
	q.sweep()
	return q
}

// disturbs are the faults that may break a connection and, with it, a hold.
var disturbs = map[string]bool{"F1": true, "F2": true, "F3": true, "F4": true, "F5": true, "F6": true, "F7": true, "F12": true}

// live finds what happened to sessions and to all of them.
func (q *queueView) live() {
	faults := map[int]int{}
	for i := range q.Events {
		e := &q.Events[i]
		if e.Kind == Fault && disturbs[e.Text] {
			if e.Phase == Invoke {
				faults[e.Call] = len(q.faults)
				q.faults = append(q.faults, [2]int{i, never})
			} else if n, ok := faults[e.Call]; ok {
				q.faults[n][1] = i
			}
		}
		if e.Session < 1 || e.Session > len(q.lives) {
			continue
		}
		l := &q.lives[e.Session-1]
		switch {
		case e.Kind == Crash:
			l.crash = min(l.crash, i)
		case e.Kind == Close && e.Phase == Invoke:
			l.close = min(l.close, i)
		case e.Kind == Close && e.Phase == OK:
			l.closed = min(l.closed, i)
		case e.Kind == Freeze:
			l.freezes = append(l.freezes, [2]int{i, never})
		case e.Kind == Thaw && len(l.freezes) > 0:
			l.freezes[len(l.freezes)-1][1] = i
		}
	}
}

// hold fills in what delivery k, which is later than those before it, claims.
func (q *queueView) hold(k int, last map[[2]int]int) {
	d, h := &q.Deliveries[k], &q.holds[k]
	*h = hold{group: -1, prev: -1, next: -1, settle: never, excuse: never, lost: never}
	if d.Event < 0 {
		return
	}
	if h.group = q.group[d.Session-1]; h.group < 0 {
		return
	}
	from := d.Event
	if d.Receive >= 0 {
		from = d.Receive
	}
	h.start = q.Events[from].At
	if d.Message > 0 {
		q.chain(k, last)
	}
	if len(d.Settles) > 0 {
		h.settle = d.Settles[0].Invoke
	}
	if d.Lost >= 0 {
		h.lost = d.Lost
	}
	h.excuse = q.excuse(d.Session, from, h.start)
}

// chain joins delivery k to the one before it of its message.
func (q *queueView) chain(k int, last map[[2]int]int) {
	d, h := &q.Deliveries[k], &q.holds[k]
	key := [2]int{h.group, d.Message}
	if j, ok := last[key]; ok {
		h.prev, q.holds[j].next = j, k
		if before := q.holds[j].end(); before < d.Event && !q.Duplicates {
			h.start = max(h.start, q.Events[before].At)
		}
	}
	last[key] = k
	if ps := q.Publications[d.Message-1]; len(ps) > 0 {
		h.start = max(h.start, q.Events[ps[0].Invoke].At)
	}
}

// excuse returns the first event after from that may end the hold of a
// delivery to a session, or never.
func (q *queueView) excuse(session, from int, start time.Duration) int {
	l := &q.lives[session-1]
	at := min(l.crash, l.close)
	for _, stops := range [][][2]int{l.freezes, q.faults} {
		for _, s := range stops {
			if s[1] > from {
				at = min(at, max(s[0], from))
			}
		}
	}
	if hold := q.Sessions[session-1].Hold; hold > 0 {
		at = min(at, q.at(start+hold))
	}
	return at
}

// at returns the first event at or after a time, or never.
func (q *queueView) at(t time.Duration) int {
	i := sort.Search(len(q.Events), func(i int) bool { return q.Events[i].At >= t })
	if i == len(q.Events) {
		return never
	}
	return i
}

// session returns whose delivery k is.
func (q *queueView) session(k int) *Session { return &q.Sessions[q.Deliveries[k].Session-1] }

// when returns when delivery k was recorded.
func (q *queueView) when(k int) time.Duration { return q.Events[q.Deliveries[k].Event].At }

// until returns when delivery k was recorded, or the end of the history
// for -1.
func (q *queueView) until(k int) time.Duration {
	switch {
	case k >= 0:
		return q.when(k)
	case len(q.Events) == 0:
		return 0
	}
	return q.Events[len(q.Events)-1].At
}

// called returns how a message is called in texts, for delivery k.
func (q *queueView) called(k int) string {
	if n := q.Deliveries[k].Message; n > 0 {
		return q.name(n - 1)
	}
	return "of unknown origin"
}

// acked returns the first Ack of delivery k that was not certainly in vain, or
// nil.
func (d *Delivery) acked() *Settle {
	for i := range d.Settles {
		if s := &d.Settles[i]; s.Kind == Ack && s.Phase != Fail {
			return s
		}
	}
	return nil
}

// show are the events that show what happened to a delivery: how it came and
// how it was settled.
func (q *queueView) show(ks ...int) []int {
	var events []int
	for _, k := range ks {
		if k < 0 {
			continue
		}
		d := &q.Deliveries[k]
		events = append(events, d.Event)
		for i, s := range d.Settles {
			if i == 4 {
				break
			}
			events = append(events, s.Invoke, s.Outcome)
		}
		l := &q.lives[d.Session-1]
		for _, at := range []int{l.crash, l.close, d.Lost} {
			if at != never {
				events = append(events, at)
			}
		}
		for _, f := range l.freezes {
			events = append(events, f[0])
		}
	}
	return events
}
