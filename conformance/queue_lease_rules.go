package conformance

import (
	"fmt"
	"time"
)

// checkLeaseExclusive looks for messages that came to somebody while somebody
// else held them.
func checkLeaseExclusive(v *View, f *Finding) {
	q := v.queues()
	for g := range q.names {
		f.count("shared", q.shared[g])
	}
	for k := range q.holds {
		if q.holds[k].group >= 0 {
			f.count("delivered", 1)
		}
		if q.holds[k].prev >= 0 || q.holds[k].next < 0 {
			continue
		}
		holder := k
		for n := q.holds[k].next; n >= 0; n = q.holds[n].next {
			if q.holding(holder, n) {
				f.violate(q.show(holder, n), "message %s was delivered while another delivery of it was held", q.called(n))
			}
			if q.holds[n].end() > q.holds[holder].end() {
				holder = n
			}
		}
	}
}

// holding says whether k was held when n was delivered. That the end of a
// lease is told a little later than its message goes to somebody else is no
// overlap: whoever is told is told at once, and not first.
func (q *queueView) holding(k, n int) bool {
	h, at := &q.holds[k], q.Deliveries[n].Event
	if at >= h.settle || at >= h.excuse {
		return false
	}
	return h.lost == never || q.Events[h.lost].At > q.Events[at].At+q.Timing.Operation
}

// checkLeaseExpiry compares when something came again with the lease of who
// had it and did not settle it.
func checkLeaseExpiry(v *View, f *Finding) {
	q := v.queues()
	late := &lateness{q: q, f: f}
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		s := q.session
		if h.group < 0 || d.Message == 0 || s(k).Lease == 0 {
			continue
		}
		why, from := q.expiry(k)
		if why == "" {
			continue
		}
		next := q.after(k, h.excuse)
		if next < 0 && q.elsewhere(k) {
			continue
		}
		if q.when(k)-h.start > s(k).Lease/10 {
			f.count(why+", but long under way", 1)
		} else {
			f.count(why, 1)
		}
		if next >= 0 && q.when(next) < h.start+s(k).Lease {
			f.violate(q.show(k, next), "message %s came again %v after it was received, before its lease of %v was over", q.called(k), q.when(next)-h.start, s(k).Lease)
		}
		if q.solo[h.group] {
			continue // only its own slots could take it: Q07
		}
		late.expect(arrival{
			group: h.group, from: from, next: next, within: q.Timing.Redelivery, lease: s(k).Lease, attempt: q.attempt(k, 1),
			events: q.show(k), text: fmt.Sprintf("message %s was %s, with a lease of %v", q.called(k), why, s(k).Lease),
		})
	}
	late.close()
}

// expiry says why the lease of delivery k ended, if it did because nobody
// settled it, and by when it had.
func (q *queueView) expiry(k int) (why string, by time.Duration) {
	h, d := &q.holds[k], &q.Deliveries[k]
	s, l := q.session(k), &q.lives[d.Session-1]
	if h.excuse == never || h.settle < h.excuse || h.lost < h.excuse {
		return "", 0
	}
	switch at := q.Events[h.excuse].At; {
	case h.excuse == l.crash && d.Tried(Ack, Nack, Release) == nil:
		return "in hand at a crash", at + s.Lease
	case s.Hold > 0 && at >= h.start+s.Hold && l.crash > h.excuse && l.close > h.excuse && len(l.freezes) == 0 &&
		(h.settle == never || q.Events[h.settle].At > q.when(k)+s.Hold+q.Timing.Redelivery):
		return "held past its time", q.when(k) + s.Hold + s.Lease
	}
	for _, z := range l.freezes {
		if z[0] != h.excuse || h.settle < z[1] {
			continue
		}
		by := q.Events[z[0]].At + s.Lease
		if next := q.after(k, z[0]); z[1] == never || q.Events[z[1]].At > by+q.Timing.Redelivery || next >= 0 && q.Deliveries[next].Event < z[1] {
			return "with a zombie", by
		}
	}
	return "", 0
}

// checkLeaseExtend looks for leases that end although their holder lives, and
// for such as outlive hold=.
func checkLeaseExtend(v *View, f *Finding) {
	q := v.queues()
	late := &lateness{q: q, f: f}
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		if h.group < 0 {
			continue
		}
		if at := q.loss(k); at >= 0 {
			f.violate(append(q.show(k), at), "message %s was lost after %v, though its holder was alive and had not settled it", q.called(k), q.Events[at].At-q.when(k))
		}
		kept := 4 * q.session(k).Lease
		if kept == 0 {
			kept = 4 * q.Timing.Redelivery
		}
		if s := d.Settled(Ack, Nack, Release); s != nil && q.Events[s.Invoke].At >= q.when(k)+kept {
			f.count("kept for four leases", 1)
		}
		q.checkHold(k, f, late)
	}
	late.close()
}

// loss returns the event that shows that delivery k was lost without a reason,
// or -1.
func (q *queueView) loss(k int) int {
	h, d := &q.holds[k], &q.Deliveries[k]
	switch {
	case h.lost < h.settle && h.lost < h.excuse:
		return h.lost
	case h.settle == never:
	case d.Settles[0].Code == LostError && d.Settles[0].Outcome < h.excuse:
		return d.Settles[0].Outcome
	}
	return -1
}

// checkHold judges delivery k if it was held for longer than hold= allows.
func (q *queueView) checkHold(k int, f *Finding, late *lateness) {
	h, d := &q.holds[k], &q.Deliveries[k]
	why, by := q.expiry(k)
	if why != "held past its time" {
		return
	}
	s := q.session(k)
	over := q.when(k) + s.Hold
	if q.Events[len(q.Events)-1].At < over+q.Timing.Redelivery {
		return
	}
	f.count("held past hold", 1)
	if h.lost == never || q.Events[h.lost].At > over+q.Timing.Redelivery {
		f.violate(q.show(k), "message %s was held for longer than %v, and its lease was not lost", q.called(k), s.Hold)
	}
	if h.settle != never && d.Settles[0].Phase == OK {
		f.violate(q.show(k), "message %s was settled %v after it came, with a hold of %v", q.called(k), q.Events[h.settle].At-q.when(k), s.Hold)
	}
	if next := q.after(k, h.excuse); q.solo[h.group] && d.Message > 0 && (next >= 0 || !q.elsewhere(k)) {
		late.expect(arrival{
			group: h.group, from: by, next: next, within: q.Timing.Redelivery, lease: s.Lease, attempt: q.attempt(k, 1),
			events: q.show(k), text: fmt.Sprintf("message %s was lost after hold=%v, which makes room in the window", q.called(k), s.Hold),
		})
	}
}

// checkStaleSettle looks for settles that came after a newer delivery of
// their message, and for what they did to that.
func checkStaleSettle(v *View, f *Finding) {
	q := v.queues()
	late := &lateness{q: q, f: f}
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		if h.group < 0 || h.next < 0 || len(d.Settles) == 0 {
			continue
		}
		for i := range d.Settles {
			s := &d.Settles[i]
			newer := q.before(k, s.Invoke)
			if newer < 0 || s.Kind == Release || d.unsure(s) || s.Outcome < 0 {
				continue
			}
			f.count("stale", 1)
			switch {
			case s.Phase == OK:
				f.violate(q.show(k, newer), "%s of message %s was nil after a newer delivery of it had been recorded", s.Kind, q.called(k))
			case s.Phase == Fail && s.Code == Other:
				f.violate(q.show(k, newer), "%s of message %s after a newer delivery of it was %q, and not ErrLost", s.Kind, q.called(k), q.Events[s.Outcome].Text)
			}
			q.checkNewer(k, s, newer, f, late)
		}
	}
	late.close()
}

// before returns the last delivery of k's message after k that was recorded
// before event at, or -1.
func (q *queueView) before(k, at int) int {
	last := -1
	for n := q.holds[k].next; n >= 0 && q.Deliveries[n].Event < at; n = q.holds[n].next {
		last = n
	}
	return last
}

// unsure says that the outcome of an earlier attempt like s is unknown, so
// that s repeats it.
func (d *Delivery) unsure(s *Settle) bool {
	for i := range d.Settles {
		t := &d.Settles[i]
		if t == s {
			return false
		}
		if t.Phase == Info {
			return true
		}
	}
	return false
}

// checkNewer looks at what a stale settle of k did to a newer delivery.
func (q *queueView) checkNewer(k int, stale *Settle, newer int, f *Finding, late *lateness) {
	h, d := &q.holds[newer], &q.Deliveries[newer]
	if h.end() < stale.Outcome {
		return
	}
	f.count("newer in hand", 1)
	if at := q.loss(newer); at > stale.Invoke {
		f.violate(append(q.show(k, newer), at), "message %s was lost by its holder after a stale %s of an older delivery", q.called(k), stale.Kind)
	}
	next := q.after(newer, stale.Invoke)
	if next >= 0 && q.holding(newer, next) {
		f.violate(q.show(k, newer, next), "message %s came again after a stale %s, while it was held", q.called(k), stale.Kind)
	}
	s := d.Settled(Nack)
	if s == nil || s != &d.Settles[0] || next < 0 && q.elsewhere(newer) {
		return
	}
	late.expect(arrival{
		group: h.group, from: q.Events[s.Outcome].At + q.Events[s.Invoke].Delay, next: q.after(newer, s.Invoke), within: q.Timing.Redelivery,
		lease: q.session(newer).Lease, attempt: q.attempt(newer, 1), events: q.show(k, newer),
		text: fmt.Sprintf("message %s was nacked by its holder, after a stale %s of an older delivery", q.called(k), stale.Kind),
	})
}
