package conformance

import (
	"sort"
	"time"
)

// checkSetBack judges Release on streams, and Commits over several partitions.
func checkSetBack(v *View, f *Finding) {
	sv := v.streams()
	for _, t := range sv.tenures {
		v.checkWhereBack(f, t)
		v.checkMarked(f, t)
		v.checkVoid(f, t)
		if t.cursor != nil {
			v.checkRefusals(f, t)
		}
	}
	v.checkReturned(f)
	v.countMixed(f)
}

// checkWhereBack judges where a tenure goes on after each Release: at the
// earliest that was given, or behind what is committed.
func (v *View) checkWhereBack(f *Finding, t *tenure) {
	sv := v.streams()
	next := 0 // in t.deliveries: the first whose Receive began after the Release
	for i := range t.setBacks {
		b := &t.setBacks[i]
		for next < len(t.deliveries) && v.Deliveries[t.deliveries[next]].Receive < b.outcome {
			next++
		}
		if next == len(t.deliveries) {
			return
		}
		n := t.deliveries[next]
		d := &v.Deliveries[n]
		during := next > 0 && v.Deliveries[t.deliveries[next-1]].Event > b.invoke
		again := i+1 < len(t.setBacks) && t.setBacks[i+1].invoke < d.Event
		if b.phase != OK || during || again || len(t.log.trims) > 0 {
			continue // where it is to go on is not known
		}
		f.count("set back", 1)
		least, most := b.at, b.at
		for _, k := range t.commits {
			if k.Invoke > d.Event {
				break
			}
			if k.Phase != Fail && k.at >= b.at {
				most = max(most, k.at+1)
				if k.Phase == OK && k.Outcome < b.invoke {
					least = max(least, k.at+1)
				}
			}
		}
		if at := sv.at[n]; at < least || at > most {
			f.violate([]int{b.invoke, b.outcome, d.Event}, "partition %s was set back to offset %s and went on at %s",
				t.log.partition, t.log.records[b.at].offset, t.log.records[at].offset)
		}
	}
}

// checkMarked finds deliveries that came again in one tenure and do not say so.
func (v *View) checkMarked(f *Finding, t *tenure) {
	sv := v.streams()
	high, highBy := -1, -1
	for _, n := range t.deliveries {
		if at := sv.at[n]; at > high {
			high, highBy = at, n
		} else if f.count("came again", 1); !v.Events[v.Deliveries[n].Event].Redelivered {
			f.violate([]int{v.Deliveries[highBy].Event, v.Deliveries[n].Event}, "offset %s of partition %s came again and is not marked Redelivered",
				t.log.records[at].offset, t.log.partition)
		}
	}
}

// checkVoid finds settles of what had been set back that were not refused.
func (v *View) checkVoid(f *Finding, t *tenure) {
	sv := v.streams()
	committed := 0 // of t.commits
	high := -1
	for _, k := range t.commits {
		for committed < len(t.commits) && t.commits[committed].Invoke < k.Invoke {
			if c := t.commits[committed]; c.Phase != Fail {
				high = max(high, c.at)
			}
			committed++
		}
		b := t.voidedBy(v.Deliveries[k.delivery].Event, k.Invoke, k.at)
		if b == nil {
			continue
		}
		switch {
		case k.Phase == Fail:
			f.count("refused", 1)
		case k.Phase == OK && k.at > high:
			f.violate([]int{v.Deliveries[k.delivery].Event, b.invoke, b.outcome, k.Invoke, k.Outcome}, "a Commit of offset %s of partition %s was nil, which had been set back since",
				t.log.records[k.at].offset, t.log.partition)
		}
	}
	for i := range t.setBacks {
		later := &t.setBacks[i]
		if n := t.releasedDelivery(v, later); n >= 0 && later.phase == OK {
			if b := t.voidedBy(v.Deliveries[n].Event, later.invoke, sv.at[n]); b != nil && sv.at[n] > high {
				f.violate([]int{v.Deliveries[n].Event, b.invoke, b.outcome, later.invoke, later.outcome}, "a Release of offset %s of partition %s was nil, which had been set back since",
					t.log.records[sv.at[n]].offset, t.log.partition)
			}
		}
	}
}

// releasedDelivery returns the delivery that a Release set back to, or -1.
func (t *tenure) releasedDelivery(v *View, b *setBack) int {
	if e := &v.Events[b.invoke]; e.Delivery > 0 && e.Delivery <= len(v.Deliveries) {
		return e.Delivery - 1
	}
	return -1
}

// voidedBy returns a Release that was over before a settle at event settled,
// and to which the delivery at event delivered, of index at, fell, or nil.
func (t *tenure) voidedBy(delivered, settled, at int) *setBack {
	i := sort.Search(len(t.setBacks), func(i int) bool { return t.setBacks[i].invoke > delivered })
	for ; i < len(t.setBacks) && t.setBacks[i].invoke < settled; i++ {
		if b := &t.setBacks[i]; b.phase == OK && b.outcome < settled && b.at <= at {
			return b
		}
	}
	return nil
}

// checkRefusals finds Commits that were ErrLost although their hold was not
// lost and nothing was set back.
func (v *View) checkRefusals(f *Finding, t *tenure) {
	for _, k := range t.commits {
		if k.Code != LostError || t.mayBeVoid(v.Deliveries[k.delivery].Event, k.Outcome, k.at) {
			continue
		}
		if v.lostBy(t, v.Events[k.Outcome].At+v.Timing.Operation) {
			f.count("refused", 1)
			continue
		}
		f.violate([]int{v.Deliveries[k.delivery].Event, k.Invoke, k.Outcome}, "a Commit of offset %s of partition %s was ErrLost, and its lease was not lost",
			t.log.records[k.at].offset, t.log.partition)
	}
}

// mayBeVoid says whether a Release may have set a delivery back before a settle
// ended.
func (t *tenure) mayBeVoid(delivered, settled, at int) bool {
	for i := range t.setBacks {
		if b := &t.setBacks[i]; b.invoke > settled {
			return false
		} else if b.outcome > delivered && b.at <= at {
			return true
		}
	}
	return false
}

// lostBy says whether the lease of t was seen to be lost, or its session to
// end, by a time.
func (v *View) lostBy(t *tenure, by time.Duration) bool {
	sv := v.streams()
	if l := sv.leases[t.lease]; l != nil && l.lost >= 0 && v.Events[l.lost].At <= by {
		return true
	}
	end := sv.ended(v, t.session)
	return end < len(v.Events) && v.Events[end].At <= by || v.over() < by
}

// over is when the history ends.
func (v *View) over() time.Duration {
	if len(v.Events) == 0 {
		return 0
	}
	return v.Events[len(v.Events)-1].At
}

// checkReturned finds what a group gave back and was never delivered again,
// nor committed, although the scenario drained everything.
func (v *View) checkReturned(f *Finding) {
	if v.Facts[factDrained] == 0 {
		return
	}
	for _, c := range v.streams().cursors {
		high, last := -1, map[int]int{} // the last delivery by index
		for _, k := range c.commits {
			high = max(high, k.at)
		}
		for _, t := range c.tenures {
			for _, n := range t.deliveries {
				last[v.streams().at[n]] = v.Deliveries[n].Event
			}
		}
		for _, t := range c.tenures {
			for i := range t.setBacks {
				if b := &t.setBacks[i]; b.at > high && last[b.at] < b.invoke && len(c.log.trims) == 0 {
					f.violate([]int{last[b.at], b.invoke, b.outcome}, "%s: offset %s was given back and never came again", c, c.log.records[b.at].offset)
				}
			}
		}
	}
}

// countMixed counts Commits over several partitions, and those of which some
// places were lost and others not.
func (v *View) countMixed(f *Finding) {
	for call := range v.Outcomes {
		parts, lost, ok := map[string]bool{}, false, false
		for _, i := range v.Outcomes[call] {
			if e := &v.Events[i]; e.Kind == Commit {
				parts[e.Partition] = true
				lost, ok = lost || e.Code == LostError, ok || e.Phase == OK
			}
		}
		if len(parts) > 1 {
			f.count("over partitions", 1)
			if lost && ok {
				f.count("partly lost", 1)
			}
		}
	}
}
