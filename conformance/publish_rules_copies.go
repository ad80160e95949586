package conformance

import (
	"strings"
	"time"
)

// checkNoPhantom looks for deliveries of what nobody published, not yet, or
// not there.
func checkNoPhantom(v *View, f *Finding) {
	for k := range v.Deliveries {
		d := &v.Deliveries[k]
		if d.Event < 0 {
			continue
		}
		f.count("delivered", 1)
		channel := v.Sessions[d.Session-1].Channel
		switch {
		case d.Message == 0:
			f.violate([]int{d.Event}, "a message was delivered that nobody published in this run")
		case v.Messages[d.Message-1].Channel != channel:
			f.violate([]int{d.Event}, "message %s was published to %s and delivered from %s", v.name(d.Message-1), v.Messages[d.Message-1].Channel, channel)
		case len(v.Publications[d.Message-1]) == 0 || v.Publications[d.Message-1][0].Invoke > d.Event:
			f.violate([]int{d.Event}, "message %s was delivered before anybody published it", v.name(d.Message-1))
		}
	}
}

// ofID says whether a difference is one of the id, which is not P06's.
func ofID(diff string) bool { return strings.HasPrefix(diff, "id ") || diff == "no id" }

// checkFidelity looks for deliveries, and looks at what is in hand, in which a
// message was not what was published.
func checkFidelity(v *View, f *Finding) {
	for i := range v.Events {
		e := &v.Events[i]
		if e.Message < 1 || e.Message > len(v.Messages) || e.Diff == "" || ofID(e.Diff) {
			continue
		}
		switch e.Kind {
		case Deliver:
			f.violate([]int{i}, "message %s was not delivered as it was published: %s", v.name(e.Message-1), e.Diff)
		case Note:
			f.violate([]int{i}, "message %s changed in its consumer's hand when another delivery was written to: %s", v.name(e.Message-1), e.Diff)
		}
	}
	for n := range v.OfMessage {
		v.countDeliveries(n, f)
	}
}

// countDeliveries counts the deliveries of message n, those of them that were
// not the first to their group, and whether several groups got it.
func (v *View) countDeliveries(n int, f *Finding) {
	groups := map[[2]string]int{}
	for _, k := range v.OfMessage[n] {
		groups[v.Group(&v.Deliveries[k])]++
	}
	for _, times := range groups {
		f.count("delivered", times)
		f.count("redelivered", times-1)
	}
	if len(groups) > 1 {
		f.count("in several groups", 1)
	}
}

// copies returns, for each group that got message n, how often it is stored
// there, as far as anybody can tell, and events that show it. In a stream
// those are its positions. In a queue a copy is gone when it is acknowledged:
// what is acknowledged twice was there twice.
func (v *View) copies(n int) map[[2]string][]int {
	type position struct{ partition, offset string }
	seen := map[position]bool{}
	of := map[[2]string][]int{}
	for _, k := range v.OfMessage[n] {
		d := &v.Deliveries[k]
		e := &v.Events[d.Event]
		if e.Partition != "" {
			all := [2]string{v.Sessions[d.Session-1].Channel} // one log for all groups
			if at := (position{e.Partition, e.Offset}); !seen[at] {
				seen[at] = true
				of[all] = append(of[all], d.Event)
			}
		} else if s := d.Settled(Ack); s != nil {
			of[v.Group(d)] = append(of[v.Group(d)], s.Outcome)
		}
	}
	return of
}

// checkRetryNoDup looks for messages that one Publish stored more than once.
func checkRetryNoDup(v *View, f *Finding) {
	for n := range v.Messages {
		if len(v.Publications[n]) != 1 {
			continue
		}
		for group, events := range v.copies(n) {
			f.count("stored", 1)
			if len(events) > 1 {
				f.violate(append(events, v.Publications[n][0].Outcome), "message %s was published in one call and is stored %d times in %q", v.name(n), len(events), group[1])
			}
		}
	}
	f.count("hits", v.hits())
}

// checkSameIDOnce looks at the messages that were published more than once.
func checkSameIDOnce(v *View, f *Finding) {
	window := v.Timing.withDefaults().Dedup
	for n := range v.Messages {
		ps := v.Publications[n]
		for len(ps) > 0 && ps[0].Phase == Fail {
			ps = ps[1:] // certainly no attempt that the broker saw
		}
		if len(ps) < 2 || ps[0].Outcome < 0 {
			continue
		}
		least, most := 1, 1
		for _, p := range ps[1:] {
			if p.Outcome < 0 || p.Phase == Fail {
				continue
			}
			switch {
			case v.Events[p.Outcome].At-v.Events[ps[0].Invoke].At < window:
				f.count("repeated", 1)
				if ps[0].Phase == Info {
					f.count("repeated after uncertain", 1)
				}
			case v.Events[p.Invoke].At-v.Events[ps[0].Outcome].At > window+v.Timing.withDefaults().ClockSkew && p.Phase == OK:
				f.count("repeated too late", 1)
				least, most = 2, most+1
			default:
				most++
			}
		}
		for group, events := range v.copies(n) {
			switch {
			case len(events) > most:
				f.violate(append(events, ps[0].Invoke, ps[1].Invoke), "message %s was published %d times with one id and is stored %d times in %q", v.name(n), len(ps), len(events), group[1])
			case len(events) < least && ps[0].Phase == OK:
				f.violate(append(events, ps[0].Invoke, ps[len(ps)-1].Invoke), "message %s was published again after the window of %v and was not stored again", v.name(n), window)
			}
		}
	}
}

// checkIdentity looks at ids and at Published.
func checkIdentity(v *View, f *Finding) {
	owner := map[string]int{}
	for n := range v.Messages {
		first := -1
		for _, k := range v.OfMessage[n] {
			i := v.Deliveries[k].Event
			if first < 0 {
				first = i
			}
			v.checkID(owner, n, first, i, f)
			v.checkPublished(n, first, i, f)
		}
		v.countDeliveries(n, f)
		for _, p := range v.Publications[n] {
			if p.Outcome >= 0 && v.Events[p.Outcome].Diff != "" {
				f.violate([]int{p.Invoke, p.Outcome}, "Publish changed its argument: %s", v.Events[p.Outcome].Diff)
			}
		}
	}
}

// checkID judges the id of a delivery of message n, of which another delivery
// was the first.
func (v *View) checkID(owner map[string]int, n, first, i int, f *Finding) {
	id, want := v.Events[i].ID, v.Messages[n].ID
	other, taken := owner[id]
	switch {
	case id == "":
		f.violate([]int{i}, "message %s was delivered without an id", v.name(n))
		return
	case want != "" && id != want:
		f.violate([]int{i}, "message %s was published with the id %q and delivered with %q", v.name(n), want, id)
	case id != v.Events[first].ID:
		f.violate([]int{first, i}, "message %s was delivered with the id %q and with %q", v.name(n), v.Events[first].ID, id)
	case taken && other != n:
		f.violate([]int{i}, "message %s was delivered with the id of message %s", v.name(n), v.name(other))
	}
	if !taken {
		owner[id] = n
	}
}

// checkPublished judges the Published of a delivery.
func (v *View) checkPublished(n, first, i int, f *Finding) {
	at, ps := v.Events[i].Published, v.Publications[n]
	if len(ps) == 0 {
		return
	}
	if at.IsZero() {
		if before := v.Events[first].Published; !before.IsZero() && v.Fault != "F3" && len(ps) == 1 {
			f.violate([]int{first, i}, "message %s is Published %v and, when it came again, at no time", v.name(n), before)
		}
		return
	}
	// The skew covers a resolution of a second, too.
	skew := v.Timing.withDefaults().ClockSkew
	from, to := v.wall(ps[0].Invoke), v.wall(i)
	if last := ps[len(ps)-1]; last.Phase == OK {
		to = v.wall(last.Outcome)
	}
	if at.Before(from.Add(-skew)) || at.After(to.Add(skew)) {
		f.violate([]int{ps[0].Invoke, i}, "message %s is Published %v, which is %v after its Publish began, and that was over after %v", v.name(n), at, at.Sub(from), to.Sub(from))
	}
	// A copy that a retry stored may have a time of its own.
	if v.Fault != "F3" && len(ps) == 1 && !at.Equal(v.Events[first].Published) {
		f.violate([]int{first, i}, "message %s is Published %v and, when it came again, %v", v.name(n), v.Events[first].Published, at)
	}
}

// wall is the wall clock at event i.
func (v *View) wall(i int) time.Time { return v.Started.Add(v.Events[i].At) }
