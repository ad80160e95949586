package conformance

// checkAckFinal looks for messages that came again although an Ack was nil.
func checkAckFinal(v *View, f *Finding) {
	q := v.queues()
	acked := map[[2]int]int{} // by group and message, the delivery
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		if h.group < 0 || d.Message == 0 {
			continue
		}
		key := [2]int{h.group, d.Message}
		if a, ok := acked[key]; ok {
			s := q.Deliveries[a].Settled(Ack)
			// What was on its way when the Ack was answered may be recorded
			// after it.
			if d.Receive > s.Outcome || d.Event > s.Outcome && q.when(k) > q.Events[s.Outcome].At+q.Timing.Redelivery/10 {
				f.violate(q.show(a, k), "message %s was acknowledged, and came again %v later", q.called(k), q.when(k)-q.Events[s.Outcome].At)
			}
			continue
		}
		if s := d.Settled(Ack); s != nil {
			acked[key] = k
			if q.last[h.group] >= q.Events[s.Outcome].At+q.session(k).Lease {
				f.count("acknowledged, and watched for a lease", 1)
			}
		}
	}
}

// checkDrained looks for what comes to a fresh consumer of a queue in which
// everything was settled.
func checkDrained(v *View, f *Finding) {
	q := v.queues()
	probes := map[int]int{} // by group, when the watch began
	acked := map[[2]int]bool{}
	for i := range q.Events {
		e := &q.Events[i]
		if e.Session < 1 || e.Session > len(q.Sessions) || q.group[e.Session-1] < 0 {
			continue
		}
		g := q.group[e.Session-1]
		switch {
		case e.Kind == Note && e.Text == probed:
			probes[g] = i
			f.count("probes", 1)
			for key := range acked {
				if key[0] == g {
					f.count("settled", 1)
				}
			}
		case e.Kind == Ack && e.Phase == OK && e.Delivery > 0 && e.Delivery <= len(q.Deliveries):
			acked[[2]int{g, q.Deliveries[e.Delivery-1].Message}] = true
		case e.Kind == Deliver:
			if from, ok := probes[g]; ok && (e.Message == 0 || acked[[2]int{g, e.Message}]) {
				f.violate([]int{from, i}, "everything was settled, and message %s came to a fresh consumer", q.called(e.Delivery-1))
			}
		}
	}
}

// demand is what a settle has to return.
type demand int

const (
	anything demand = iota
	success
	lost
)

// demands returns what the i-th settle of delivery k has to return, and why.
func (q *queueView) demands(k, i int) (demand, string) {
	h, d := &q.holds[k], &q.Deliveries[k]
	s := &d.Settles[i]
	if s.Outcome < 0 || s.Phase == Info || s.Code == Canceled || s.Code == Deadline || s.Code == Closed {
		return anything, ""
	}
	l := &q.lives[d.Session-1]
	if s.Outcome > min(l.crash, l.close) {
		return anything, ""
	}
	settled := false
	for j := range i {
		t := &d.Settles[j]
		switch {
		case t.Phase == Info || t.Outcome > s.Invoke && q.Events[t.Invoke].Call != q.Events[s.Invoke].Call:
			return anything, "" // unknown, or at the same time
		case t.Phase == OK:
			settled = true
		}
	}
	switch {
	case settled:
		return lost, "it had been settled"
	case h.lost < s.Invoke:
		return lost, "its lease had been lost"
	case !q.Duplicates && q.before(k, s.Invoke) >= 0:
		return lost, "a newer delivery had been recorded"
	case h.excuse > s.Outcome && h.lost > s.Outcome:
		return success, "it was held"
	}
	return anything, ""
}

// met says whether a settle returned what it had to.
func (d demand) met(s *Settle) bool {
	switch d {
	case success:
		return s.Phase == OK
	case lost:
		return s.Phase == Fail && s.Code == LostError
	}
	return true
}

// checkSettleOnce looks for deliveries that were settled twice, and for what
// a settle did to others of its session.
func checkSettleOnce(v *View, f *Finding) {
	q := v.queues()
	second := make([]int, len(q.Sessions)) // the latest second settle of each session, or 0
	for k := range q.holds {
		d := &q.Deliveries[k]
		if q.holds[k].group < 0 {
			continue
		}
		for i := range d.Settles {
			switch want, why := q.demands(k, i); {
			case want == lost && why == "it had been settled":
				f.count("second settles", 1)
				if s := &d.Settles[i]; !want.met(s) {
					f.violate(q.show(k), "%s of message %s, after %s, was %q and not ErrLost", s.Kind, q.called(k), why, cause(q, s))
				}
				second[d.Session-1] = max(second[d.Session-1], d.Settles[i].Invoke)
			case i > 0 && d.Settles[i-1].Phase == Info:
				f.count("repeated", 1)
			}
		}
	}
	q.checkIsolated(second, f)
}

func cause(q *queueView, s *Settle) string {
	if s.Phase == OK {
		return "nil"
	}
	return q.Events[s.Outcome].Text
}

// checkIsolated looks whether settles of others, and second ones, disturbed
// what was in flight in their session.
func (q *queueView) checkIsolated(second []int, f *Finding) {
	for s, of := range q.OfSession {
		acks := 0 // deliveries before that were acknowledged
		crash := q.lives[s].crash
		for i := len(of) - 1; i >= 0; i-- {
			k := of[i]
			h, d := &q.holds[k], &q.Deliveries[k]
			if h.group < 0 {
				break
			}
			if a := d.Settled(Ack); a != nil {
				acks++
			}
			if at := q.loss(k); at >= 0 && (acks > 0 || second[s] > 0) {
				f.violate(append(q.show(k), at), "message %s was lost by its holder, who had settled only others", q.called(k))
			}
			if crash == never || acks == 0 || len(d.Settles) > 0 || h.lost < crash || d.Message == 0 {
				continue
			}
			f.count("left by a crash after the Ack of a later one", 1)
			if q.after(k, crash) < 0 && !q.elsewhere(k) && q.waited(h.group, q.Events[crash].At, q.until(-1), 5*q.Sessions[s].Lease+q.Timing.Redelivery) {
				f.violate(q.show(k), "message %s was not settled, only others of its session, and never came again", q.called(k))
			}
		}
	}
}

// checkSettleBatch looks at the outcomes of calls that settled several
// deliveries.
func checkSettleBatch(v *View, f *Finding) {
	q := v.queues()
	oks, losts := map[int]int{}, map[int]int{} // places of a call
	for k := range q.holds {
		d := &q.Deliveries[k]
		if q.holds[k].group < 0 {
			continue
		}
		for i := range d.Settles {
			s := &d.Settles[i]
			call := q.Events[s.Invoke].Call
			if call < 1 || call > len(q.Outcomes) || len(q.Outcomes[call-1]) < 2 {
				continue
			}
			want, why := q.demands(k, i)
			if want == anything {
				continue
			}
			f.count("places", 1)
			if want == success {
				oks[call]++
			} else {
				losts[call]++
			}
			if !want.met(s) {
				f.violate(q.show(k), "in a call with %d deliveries, %s of message %s was %q, though %s", len(q.Outcomes[call-1]), s.Kind, q.called(k), cause(q, s), why)
			}
		}
	}
	for call := range oks {
		if losts[call] > 0 {
			f.count("calls with both outcomes", 1)
		}
	}
}
