package conformance

// failures is how often a message had failed before some delivery of it.
type failures struct {
	certain, possible int
	latest            string // how the delivery before ended
}

// checkAttempts compares Attempt and Redelivered with what happened.
func checkAttempts(v *View, f *Finding) {
	q := v.queues()
	for k := range q.holds {
		if q.holds[k].group < 0 || q.holds[k].prev >= 0 || q.Deliveries[k].Message == 0 {
			continue
		}
		var before failures
		for n := k; n >= 0; n = q.holds[n].next {
			if before.latest != "" {
				f.count(before.latest, 1)
			}
			if q.session(n).Attempts {
				q.checkAttempt(n, before, f)
			} else if a := q.Events[q.Deliveries[n].Event].Attempt; a != 0 {
				f.violate(q.show(n), "attempt %d of message %s, from a subscriber that does not count", a, q.called(n))
			}
			q.checkRedelivered(n, f)
			before.add(q, n)
		}
	}
}

// add adds how delivery k ended.
func (b *failures) add(q *queueView, k int) {
	h, d := &q.holds[k], &q.Deliveries[k]
	l, next := &q.lives[d.Session-1], h.next
	var first *Settle
	if len(d.Settles) > 0 {
		first = &d.Settles[0]
	}
	switch {
	case next < 0:
	case q.Duplicates && h.end() > q.Deliveries[next].Receive:
		// Two copies are on their way: the number of the next was perhaps
		// given before this one failed.
		b.possible, b.latest = b.possible+1, ""
	case len(d.Settles) > 1 && d.unsure(&d.Settles[len(d.Settles)-1]), first != nil && first.Phase == Info:
		b.possible, b.latest = b.possible+1, ""
	case first != nil && first.Phase == OK && first.Kind == Nack:
		b.certain, b.latest = b.certain+1, "after a nack"
	case first != nil && first.Phase == OK && first.Kind == Release:
		b.latest = "after a give-back"
	case first != nil && first.Phase == OK:
		b.possible, b.latest = b.possible+1, "" // an Ack, and it came again: Q03
	case l.closed != never && h.excuse == l.close:
		b.latest = "after a give-back"
	case l.close != never && h.excuse == l.close:
		b.possible, b.latest = b.possible+1, ""
	case l.crash != never && h.excuse == l.crash:
		b.certain, b.latest = b.certain+1, "after a crash"
	default:
		b.certain, b.latest = b.certain+1, "after a lease was over"
	}
}

func (q *queueView) checkAttempt(k int, before failures, f *Finding) {
	attempt := q.Events[q.Deliveries[k].Event].Attempt
	shown := append(q.show(q.holds[k].prev), q.show(k)...)
	switch {
	case attempt < 1+before.certain:
		f.violate(shown, "attempt %d of message %s, which had failed %d times before", attempt, q.called(k), before.certain)
	case q.session(k).ExactAttempts && attempt > 1+before.certain+before.possible:
		f.violate(shown, "attempt %d of message %s, which had failed at most %d times before, by an exact count", attempt, q.called(k), before.certain+before.possible)
	}
}

// checkRedelivered judges the flag: what is not marked was never delivered.
func (q *queueView) checkRedelivered(k int, f *Finding) {
	d, prev := &q.Deliveries[k], q.holds[k].prev
	if prev < 0 || q.Events[d.Event].Redelivered || q.Duplicates && q.Deliveries[prev].Event > d.Receive {
		return
	}
	f.violate(q.show(prev, k), "message %s is not marked as redelivered, and had been delivered before", q.called(k))
}
