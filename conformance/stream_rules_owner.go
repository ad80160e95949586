package conformance

import (
	"strings"
	"time"
)

// The rules of ownership: S08, S13 and S17.

// checkExclusiveOwner finds partitions with two owners in a group, and old
// owners that were not fenced.
func checkExclusiveOwner(v *View, f *Finding) {
	sv, epochs := v.streams(), v.epochs()
	for _, c := range sv.cursors {
		for k, t := range c.tenures {
			if k+1 == len(c.tenures) {
				break
			}
			next := c.tenures[k+1]
			f.count("moves", 1)
			if epoch := epochs[t.lease]; epoch != "" && epoch == epochs[next.lease] && t.session != next.session {
				f.violate([]int{t.first(v), next.first(v)}, "%s: %s and %s after it have one epoch: %s", c, v.who(t.session), v.who(next.session), epoch)
			}
			v.checkOneOwner(f, c, t, next)
			v.checkFenced(f, c, t, next)
			v.checkTold(f, c, t, next)
		}
	}
	v.countShared(f)
	v.countZombies(f)
}

// epochs returns the epochs of leases, of those that have any.
func (v *View) epochs() map[int]string {
	epochs := map[int]string{}
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Note && e.Lease > 0 {
			if epoch, ok := strings.CutPrefix(e.Text, epochOf); ok {
				epochs[e.Lease] = epoch
			}
		}
	}
	return epochs
}

// checkOneOwner finds deliveries of a former hold in Receives that were called
// after a delivery of the next one. What had been a zombie may have read ahead.
func (v *View) checkOneOwner(f *Finding, c *cursorLog, t, next *tenure) {
	taken := next.first(v)
	for i := len(t.deliveries) - 1; i >= 0; i-- {
		d := &v.Deliveries[t.deliveries[i]]
		if d.Receive < taken {
			return
		}
		if v.streams().frozenBefore(t.session, d.Event) {
			continue
		}
		f.violate([]int{v.Deliveries[t.deliveries[0]].Event, taken, d.Event}, "%s has two owners: %s was delivered offset %s after %s had been given the partition",
			c, v.who(t.session), v.Events[d.Event].Offset, v.who(next.session))
		return
	}
}

// checkFenced finds Commits of a former hold that were nil, or had an effect,
// after a delivery of the next one.
func (v *View) checkFenced(f *Finding, c *cursorLog, t, next *tenure) {
	taken := next.first(v)
	for i := len(t.commits) - 1; i >= 0; i-- {
		k := t.commits[i]
		if v.streams().moments[t.session].awake(k.Invoke) < taken {
			return
		}
		switch {
		case k.Phase == Fail:
			f.count("fenced", 1)
		case k.Phase == OK && !c.triedBefore(k):
			f.violate([]int{v.Deliveries[k.delivery].Event, taken, k.Invoke, k.Outcome}, "%s: a Commit of offset %s by the former owner was nil, when %s had been given the partition",
				c, c.log.records[k.at].offset, v.who(next.session))
			return
		}
	}
}

// awake returns the event from which on a session can have done what it was
// called for at event i: a zombie does nothing before it thaws.
func (m *moments) awake(i int) int {
	for k, frozen := range m.freezes {
		if frozen < i && k < len(m.thaws) && m.thaws[k] > i {
			return m.thaws[k]
		}
	}
	return i
}

// triedBefore says whether somebody else tried to commit at or beyond k before
// that ended: then it may be nil, being below the committed offset.
func (c *cursorLog) triedBefore(k *checkpoint) bool {
	for _, other := range c.commits {
		if other.Invoke > k.Outcome {
			return false
		}
		if other.tenure != k.tenure && other.at >= k.at && other.Phase != Fail {
			return true
		}
	}
	return false
}

// checkTold finds former owners that live and were not told: their lease is
// Lost soon after the next one has the partition.
func (v *View) checkTold(f *Finding, c *cursorLog, t, next *tenure) {
	sv := v.streams()
	taken := next.first(v)
	if t.lease == 0 {
		f.violate([]int{t.first(v), taken}, "%s moved from a delivery without a Lease, which says that it is never lost", c)
		return
	}
	m := sv.moments[t.session]
	since := v.Events[taken].At
	for i, frozen := range m.freezes {
		if i >= len(m.thaws) && frozen < len(v.Events) {
			return // it never woke
		}
		since = max(since, v.Events[m.thaws[i]].At)
	}
	if !v.lostBy(t, since+v.Timing.Operation) {
		f.violate([]int{t.first(v), taken}, "%s moved on to %s, and the lease of its former owner was not lost %v later", c, v.who(next.session), v.Timing.Operation)
	}
}

// countZombies counts the sessions that were frozen while they owned
// something and woke when it was no longer theirs.
func (v *View) countZombies(f *Finding) {
	sv := v.streams()
	for _, c := range sv.cursors {
		for k, t := range c.tenures {
			m := sv.moments[t.session]
			for i := range min(len(m.freezes), len(m.thaws)) {
				if k+1 < len(c.tenures) && t.first(v) < m.freezes[i] && c.tenures[k+1].first(v) > m.freezes[i] && c.tenures[k+1].first(v) < m.thaws[i] {
					f.count("zombies", 1)
				}
			}
		}
	}
}

// checkHandOver judges the backend's part of S17: a hold that ends in order is
// Ending first, its owner keeps it until all in hand is settled or the bound
// is over, and then it is Lost.
func checkHandOver(v *View, f *Finding) {
	sv := v.streams()
	bound, slack := v.Timing.Handover, v.Timing.Handover/10+v.Stalled
	for _, c := range sv.cursors {
		for k, t := range c.tenures {
			l := sv.leases[t.lease]
			if l == nil || l.ending < 0 || sv.ended(v, t.session) < l.ending || sv.frozenBefore(t.session, l.ending) {
				continue
			}
			began := v.Events[l.ending].At
			end := sv.ended(v, t.session) // of the hold: lost, or its session's
			if l.lost >= 0 {
				end = min(end, l.lost)
			}
			if end == len(v.Events) {
				if v.over() > began+bound+v.Timing.Operation+v.Stalled {
					f.violate([]int{l.ending}, "%s: Ending, and %v later neither Lost nor the end of its session", c, v.over()-began)
				}
				continue
			}
			f.count("moves", 1)
			if v.inHand(t, l.ending, l.ending) >= 0 {
				f.count("moves with something in hand", 1)
			}
			if took := v.Events[end].At - began; took > bound+v.Timing.Operation+v.Stalled {
				f.violate([]int{l.ending, end}, "%s: Lost came %v after Ending, with a bound of %v", c, took, bound)
			}
			// The next owner's first delivery is no later than the move.
			if k+1 < len(c.tenures) {
				end = min(end, c.tenures[k+1].first(v))
			}
			hand := v.inHand(t, l.ending, end)
			if hand < 0 {
				continue
			}
			if took := v.Events[end].At - began; end != sv.ended(v, t.session) && took < bound-slack && !v.overstayed(t, end, bound-slack) {
				f.violate([]int{v.Deliveries[hand].Event, l.ending, end}, "%s was taken %v after Ending, with offset %s in hand and a bound of %v",
					c, took, v.Events[v.Deliveries[hand].Event].Offset, bound)
			}
		}
	}
}

// overstayed says whether the session of t had not given up another partition
// in the bound: then the broker may take all of it at once.
func (v *View) overstayed(t *tenure, end int, bound time.Duration) bool {
	sv := v.streams()
	for _, other := range sv.bySession[t.session] {
		l := sv.leases[other.lease]
		if l == nil || l.ending < 0 || l.ending > end || other.lease == t.lease {
			continue
		}
		kept := v.Events[end].At
		if l.lost >= 0 {
			kept = min(kept, v.Events[l.lost].At)
		}
		if kept-v.Events[l.ending].At >= bound && v.Events[end].At-kept <= v.Timing.Operation {
			return true
		}
	}
	return false
}

// inHand returns a delivery of t from before an event that nobody tried to
// settle before another, or -1. On a stream all above the highest Commit is in
// hand, unless it was set back.
func (v *View) inHand(t *tenure, delivered, settled int) int {
	sv := v.streams()
	high := -1
	for _, k := range t.commits {
		if k.Invoke < settled {
			high = max(high, k.at)
		}
	}
	for i := len(t.deliveries) - 1; i >= 0; i-- {
		n := t.deliveries[i]
		if d := &v.Deliveries[n]; d.Event < delivered && sv.at[n] > high && !t.mayBeVoid(d.Event, settled, sv.at[n]) {
			return n
		}
	}
	return -1
}

// checkOwnershipLive judges what happens when churn has stopped: everything is
// delivered within the time in which every partition has to have an owner.
func checkOwnershipLive(v *View, f *Finding) {
	calm := -1
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Fault && e.Phase == OK && e.Text == faultChurn {
			calm = i
		}
	}
	if calm < 0 {
		f.unsure("%s has no end of its churn", v.Scenario)
		return
	}
	sv := v.streams()
	for _, g := range v.groups() {
		if g.role != RoleStream || g.start != "" && g.start != "earliest" && g.start != "latest" {
			continue
		}
		bound := v.ownedWithin(g)
		if v.over() < v.Events[calm].At+bound && v.Facts[factDrained] == 0 {
			f.unsure("%s ended before the bound of %v", v.Scenario, bound)
			return
		}
		for n := range v.Messages {
			acked := v.acknowledged(n)
			if acked < 0 || !v.expects(g, n) {
				continue
			}
			f.count("acknowledged", 1)
			by := max(v.Events[calm].At, v.Events[acked].At) + bound
			switch first := v.firstTo(g, n); {
			case first < 0:
				f.violate([]int{acked, calm}, "message %s was not delivered to group %q within %v after its members had settled down", v.name(n), g.group, bound)
			case v.Events[first].At > by:
				f.violate([]int{acked, calm, first}, "message %s was delivered to group %q only %v after its members had settled down", v.name(n), g.group, v.Events[first].At-by+bound)
			case first > calm:
				f.count("delivered after it", 1)
			}
		}
	}
	for _, c := range sv.cursors {
		f.count("moves", len(c.tenures)-1)
	}
}

// ownedWithin is how long a partition may be without an owner: until a dead
// member is noticed, a move in order is over, and 3 s.
func (v *View) ownedWithin(g group) time.Duration {
	session := v.Timing.Session
	if session == 0 {
		for i := range v.Sessions {
			if s := &v.Sessions[i]; s.Role == RoleStream && s.Channel == g.channel && s.Group == g.group {
				session = max(session, s.Lease)
			}
		}
	}
	return session + v.Timing.Handover + 3*time.Second + v.Stalled
}

// firstTo returns the event of the first delivery of message n in g, or -1.
func (v *View) firstTo(g group, n int) int {
	for _, k := range v.OfMessage[n] {
		if d := &v.Deliveries[k]; v.Group(d) == [2]string{g.channel, g.group} {
			return d.Event
		}
	}
	return -1
}
