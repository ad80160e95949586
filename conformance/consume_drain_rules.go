package conformance

import "time"

// consumeDrainRules judge the end of a Consume.
func consumeDrainRules() []*Rule {
	return []*Rule{
		{
			ID: "L03", Name: "Drain", Flavour: ForBoth, Core: true,
			Sentence: "When Consume's context ends nothing more is received or begun; it returns nil if, and only if, all that had been started is settled, and the rest is delivered again.",
			Cells:    map[string]Evidence{"none": {"drains": 40, "drains with handlers under way": 20, "given back": 30}},
			check:    checkDrain,
		},
		{
			ID: "L04", Name: "DrainDeadline", Flavour: ForBoth, Core: true,
			Sentence: "When Grace is over, handlers are cancelled and Consume returns within a second; what was given back untouched is not a failed attempt where the broker can tell.",
			Cells:    map[string]Evidence{"F11": {"cut handlers": 20, "abandoned": 3}},
			check:    checkDrainDeadline,
		},
	}
}

// drain is the end of one Consume.
type drain struct {
	session, stop, returned int // events; -1 is none
}

// drains returns the ends of Consumes, by their Stop.
func (v *View) drains() []drain {
	var ds []drain
	open := map[int]int{}
	for i := range v.Events {
		switch e := &v.Events[i]; e.Kind {
		case Stop:
			open[e.Session] = len(ds)
			ds = append(ds, drain{e.Session, i, -1})
		case Drained:
			if k, ok := open[e.Session]; ok {
				ds[k].returned = i
				delete(open, e.Session)
			}
		}
	}
	return ds
}

// checkDrain compares what a Consume had started with what it settled.
func checkDrain(v *View, f *Finding) {
	ofSession := map[int]drain{}
	for _, d := range v.drains() {
		if d.returned < 0 {
			f.violate([]int{d.stop}, "Consume did not return after its context ended")
			continue
		}
		ofSession[d.session] = d
		f.count("drains", 1)
	}
	for i := range v.Events {
		e := &v.Events[i]
		d, ok := ofSession[e.Session]
		switch {
		case !ok:
		case e.Kind == Receive && e.Phase == Invoke && v.after(i, d.stop):
			f.violate([]int{d.stop, i}, "Consume received after its context had ended")
		case (e.Kind == Start || e.Kind == Ack || e.Kind == Nack || e.Kind == Commit) && (e.Phase == Invoke || e.Kind == Start) && i > d.returned:
			f.violate([]int{d.stop, d.returned, i}, "%s after Consume had returned", e.Kind)
		case e.Kind == Release && e.Phase == OK:
			f.count("given back", 1)
		}
	}
	unsettled, underWay := map[int]*handling{}, map[int]bool{}
	hs := v.handlings()
	for i := range hs {
		h := &hs[i]
		d, ok := ofSession[h.number]
		if !ok || h.start > d.returned {
			continue
		}
		if h.start < d.stop && (h.end < 0 || h.end > d.stop) {
			underWay[h.number] = true
		}
		if h.end < 0 || h.end > d.returned || !v.settledBy(h, d.returned) {
			unsettled[h.number] = h
		}
	}
	f.count("drains with handlers under way", len(underWay))
	for number, d := range ofSession {
		h := unsettled[number]
		switch code := v.Events[d.returned].Code; {
		case code == NoError && h != nil:
			f.violate([]int{d.stop, h.start, d.returned, h.end}, "Consume returned nil although something that it had started was not settled")
		case code == Grace && h == nil:
			f.violate([]int{d.stop, d.returned}, "Consume returned ErrGrace although everything that it had started was settled")
		}
	}
}

// settledBy says whether what h handled was settled before an event: settled
// as done or failed, or on a stream given back after it had failed, or lost.
func (v *View) settledBy(h *handling, before int) bool {
	c := h.session.Consume
	if c.Once || h.d.Lost >= 0 && h.d.Lost < before {
		return true
	}
	if s := h.d.Settled(Ack, Nack, Commit); s != nil && s.Outcome < before {
		return true
	}
	if h.session.Role == RoleQueue {
		return h.d.Tried(Ack, Nack) != nil && h.d.Tried(Ack, Nack).Code == LostError
	}
	return v.coveredBy(h.d) || !v.cut(h) && h.d.Settled(Release) != nil
}

// cut says whether h was ended by Grace.
func (v *View) cut(h *handling) bool { return h.end < 0 || v.Events[h.end].Phase == Info }

// checkDrainDeadline judges the times of drains whose handlers take longer
// than Grace.
func checkDrainDeadline(v *View, f *Finding) {
	ofSession := map[int]drain{}
	for _, d := range v.drains() {
		ofSession[d.session] = d
		grace := v.Sessions[d.session-1].Consume.Grace
		bound := grace + time.Second + v.Timing.withDefaults().Operation + v.slack()
		switch {
		case d.returned < 0:
			f.violate([]int{d.stop}, "Consume did not return")
		case v.Events[d.returned].At-v.Events[d.stop].At > bound:
			f.violate([]int{d.stop, d.returned}, "Consume returned %v after its context ended, with Grace %v", v.Events[d.returned].At-v.Events[d.stop].At, grace)
		}
	}
	for _, h := range v.handlings() {
		d, ok := ofSession[h.number]
		if !ok || d.returned < 0 {
			continue
		}
		over := v.Events[d.stop].At + h.session.Consume.Grace
		switch {
		case h.end < 0 || h.end > d.returned:
			f.count("abandoned", 1)
		case v.Events[h.end].Phase == Info && v.Events[h.end].Code == Grace:
			f.count("cut handlers", 1)
			if v.Events[h.end].At < over {
				f.violate([]int{d.stop, h.start, h.end}, "a handler was cut %v before Grace was over", over-v.Events[h.end].At)
			}
		case v.Events[h.end].At > over+v.Timing.withDefaults().Operation+v.slack():
			f.violate([]int{d.stop, h.start, h.end}, "a handler was not cancelled when Grace was over")
		}
	}
	checkUntouched(v, f)
	checkNacks(v, f)
}

// checkNacks looks for deliveries that were given back as failed and had not
// failed.
func checkNacks(v *View, f *Finding) {
	failed := map[int]bool{}
	for i := range v.Events {
		e := &v.Events[i]
		switch {
		case e.Kind == End && e.Phase == Fail:
			failed[e.Delivery] = true
		case e.Kind == Nack && e.Phase == Invoke && e.Session >= 1 && e.Session <= len(v.Sessions) && v.Sessions[e.Session-1].Consume != nil && !failed[e.Delivery]:
			f.violate([]int{i}, "Consume gave a message back as failed that had not failed")
		}
	}
}

// checkUntouched compares the attempts of what was given back without having
// failed with those of its next delivery.
func checkUntouched(v *View, f *Finding) {
	last := map[copyOf]*Delivery{}
	for k := range v.Deliveries {
		d := &v.Deliveries[k]
		if d.Event < 0 || d.Message < 1 {
			continue
		}
		s := &v.Sessions[d.Session-1]
		if !s.ExactAttempts || s.Role != RoleQueue {
			continue
		}
		key := copyOf{v.Group(d), d.Message}
		before := last[key]
		last[key] = d
		if before == nil || before.Settled(Release) == nil || before.Tried(Ack, Nack) != nil || before.Lost >= 0 && before.Lost < before.Settled(Release).Invoke {
			continue
		}
		f.count("given back untouched", 1)
		if was, is := v.Events[before.Event].Attempt, v.Events[d.Event].Attempt; is != was {
			f.violate([]int{before.Event, before.Settled(Release).Invoke, d.Event}, "a message that was given back untouched comes as attempt %d after %d", is, was)
		}
	}
}
