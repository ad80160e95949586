package conformance

import "time"

// lateness gathers what came too late, for one rule. That something is late
// shows only while its group was idle, see queueView.idle. A broker whose
// answer to a Receive is lost now and then hides a message for another lease:
// that one is pardoned where the count of attempts shows the other lease, and
// single ones too, unless the count tells that nothing of the kind happened.
// (A broker that counts leases that there were not is Q12's.)
type lateness struct {
	q     *queueView
	f     *Finding
	total int
	late  []arrival
}

// arrival is a delivery that is due.
type arrival struct {
	group  int
	from   time.Duration // when it could come at the earliest
	next   int           // the delivery that came, or -1
	within time.Duration // how long it may take
	lease  time.Duration
	// attempt is the number of the delivery if nothing else has happened; 0 is
	// unknown.
	attempt int
	events  []int
	text    string // what happened to which message
}

// expect judges an arrival.
func (l *lateness) expect(a arrival) {
	l.total++
	q, to := l.q, l.q.until(a.next)
	if !q.waited(a.group, a.from, to, a.within) {
		return
	}
	hard := a.within + 4*a.lease
	exact, more := false, false
	if a.next >= 0 && a.attempt > 0 {
		e := &q.Events[q.Deliveries[a.next].Event]
		exact = q.session(a.next).ExactAttempts && e.Attempt == a.attempt
		more = e.Attempt > a.attempt
	}
	switch {
	case a.next < 0 && q.waited(a.group, a.from, to, hard):
		l.f.violate(a.events, "%s, and it did not come again in %v, though a consumer waited", a.text, to-a.from)
	case a.next >= 0 && (exact || q.waited(a.group, a.from, to, hard)):
		l.f.violate(append(a.events, q.show(a.next)...), "%s, and it came only %v later, though a consumer waited for more than %v", a.text, to-a.from, a.within)
	case a.next >= 0 && !more:
		l.late = append(l.late, a)
	}
}

// close judges those that alone could be pardoned.
func (l *lateness) close() {
	if len(l.late) < 10 || len(l.late)*10 < l.total {
		return
	}
	for _, a := range l.late {
		l.f.violate(append(a.events, l.q.show(a.next)...), "%s, and it came only %v later, as did %d of %d", a.text, l.q.until(a.next)-a.from, len(l.late), l.total)
	}
}

// attempt returns the number that the next delivery has if its message was
// delivered only then, failed more often by n; 0 where it is not known.
func (q *queueView) attempt(k, n int) int {
	if e := &q.Events[q.Deliveries[k].Event]; e.Attempt > 0 {
		return e.Attempt + n
	}
	return 0
}

// quarter is how long something may take that waits for no lease.
func (q *queueView) quarter(k int) time.Duration {
	if l := q.session(k).Lease; l > 0 {
		return l / 4
	}
	return q.Timing.Redelivery
}

// elsewhere says that another delivery of k's message was acknowledged, so
// that it need not come again.
func (q *queueView) elsewhere(k int) bool {
	for _, j := range q.OfMessage[q.Deliveries[k].Message-1] {
		if j != k && q.holds[j].group == q.holds[k].group && q.Deliveries[j].acked() != nil {
			return true
		}
	}
	return false
}

// after returns the first delivery of k's message after k that was recorded
// after event at, or -1.
func (q *queueView) after(k, at int) int {
	for n := q.holds[k].next; n >= 0; n = q.holds[n].next {
		if q.Deliveries[n].Event > at {
			return n
		}
	}
	return -1
}
