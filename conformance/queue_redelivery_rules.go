package conformance

import (
	"fmt"
	"sort"
	"time"
)

// checkAtLeastOnce looks for what was in hand when its consumer died and did
// not come again.
func checkAtLeastOnce(v *View, f *Finding) {
	q := v.queues()
	late := &lateness{q: q, f: f}
	inHand := map[int]int{}
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		if h.group < 0 || d.Message == 0 {
			continue
		}
		crash := q.lives[d.Session-1].crash
		if crash == never || h.lost < crash || d.acked() != nil || d.Settled(Nack, Release) != nil {
			continue
		}
		next := q.after(k, crash)
		if next < 0 && q.elsewhere(k) {
			continue
		}
		if inHand[d.Session]++; inHand[d.Session] == 3 {
			f.count("crashes", 1)
		}
		f.count("in hand", 1)
		at, lease := q.Events[crash].At, q.session(k).Lease
		late.expect(arrival{
			group: h.group, from: at + lease, next: next, within: q.Timing.Redelivery, lease: lease, attempt: q.attempt(k, 1),
			events: q.show(k), text: fmt.Sprintf("message %s was in hand when its consumer died, at %v with a lease of %v", q.called(k), at, lease),
		})
	}
	late.close()
}

// checkNackRedelivers compares when a nacked message came again with the delay
// that was asked for.
func checkNackRedelivers(v *View, f *Finding) {
	q := v.queues()
	late := &lateness{q: q, f: f}
	early := 0
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		s := d.Settled(Nack)
		if h.group < 0 || d.Message == 0 || s == nil || s != &d.Settles[0] {
			continue
		}
		name, delay := "nacked", min(q.Events[s.Invoke].Delay, q.session(k).MaxDelay)
		if delay > 0 {
			name = "nacked with a delay"
		}
		f.count(name, 1)
		invoked, next := q.Events[s.Invoke].At, q.after(k, s.Invoke)
		if next >= 0 && q.when(next) < invoked+delay {
			if early++; !q.Duplicates || early > 10 {
				f.violate(q.show(k, next), "message %s was nacked with a delay of %v, and came again after %v", q.called(k), delay, q.when(next)-invoked)
			}
		}
		if next < 0 && q.elsewhere(k) {
			continue
		}
		late.expect(arrival{
			group: h.group, from: q.Events[s.Outcome].At + delay, next: next, within: q.Timing.Redelivery, lease: q.session(k).Lease,
			attempt: q.attempt(k, 1), events: q.show(k), text: fmt.Sprintf("message %s was nacked with a delay of %v", q.called(k), delay),
		})
	}
	late.close()
}

// checkGiveBack looks whether others get at once what was released, or what
// was in hand at a Close.
func checkGiveBack(v *View, f *Finding) {
	q := v.queues()
	late := &lateness{q: q, f: f}
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		if h.group < 0 || d.Message == 0 {
			continue
		}
		from, name := -1, "released"
		if s := d.Settled(Release); s != nil && s == &d.Settles[0] && s.Invoke < min(h.lost, h.excuse) {
			from = s.Outcome
		} else if l := &q.lives[d.Session-1]; l.closed != never && h.excuse == l.close && h.lost > l.close && h.settle > l.closed {
			from, name = l.closed, "in hand at a Close"
		}
		if from < 0 {
			continue
		}
		next := h.next
		if next < 0 && q.elsewhere(k) {
			continue
		}
		f.count(name, 1)
		late.expect(arrival{
			group: h.group, from: q.Events[from].At, next: next, within: q.quarter(k), lease: q.session(k).Lease,
			attempt: q.attempt(k, 0), events: append(q.show(k), from), text: fmt.Sprintf("message %s was %s", q.called(k), name),
		})
	}
	late.close()
}

// checkNoStarvation looks for messages that wait although a consumer does, or
// although others go round and round.
func checkNoStarvation(v *View, f *Finding) {
	q := v.queues()
	late := &lateness{q: q, f: f}
	rounds := q.rounds()
	for g, gr := range q.known() {
		for n := range q.Messages {
			acked := q.acknowledged(n)
			if acked < 0 || !q.expects(gr, n) || q.keyed(g, n) {
				continue
			}
			first := -1
			for _, k := range q.OfMessage[n] {
				if q.holds[k].group == g {
					first = k
					break
				}
			}
			f.count("ready", 1)
			from := max(q.Events[acked].At, q.Events[gr.opened].At)
			events := []int{acked}
			late.expect(arrival{
				group: g, from: from, next: first, within: q.Timing.Redelivery, lease: q.lease(g), attempt: 1, events: events,
				text: fmt.Sprintf("message %s was published", q.name(n)),
			})
			at := never
			if first >= 0 {
				at = q.Deliveries[first].Event
			}
			if r := rounds[g].blocks(acked, at); r >= 0 {
				f.violate(append(events, rounds[g].show(r)...), "message %s waited while %d deliveries in a row were of messages that had failed before", q.name(n), circles)
			}
		}
		f.count("rounds of failing messages", rounds[g].total)
	}
	late.close()
}

// keyed says that message n waits for others of its key.
func (q *queueView) keyed(g, n int) bool {
	if q.Messages[n].Key == "" {
		return false
	}
	for s, of := range q.group {
		if of == g {
			return q.Sessions[s].Order != "Unordered"
		}
	}
	return false
}

// lease returns the lease of a group's first session.
func (q *queueView) lease(g int) time.Duration {
	for s, of := range q.group {
		if of == g {
			return q.Sessions[s].Lease
		}
	}
	return 0
}

// known returns the groups as the rules of all flavours know them, in the
// order of q.names.
func (q *queueView) known() []group {
	all := make([]group, len(q.names))
	for _, gr := range q.groups() {
		for g := range q.names {
			if q.names[g] == [2]string{gr.channel, gr.group} && gr.role == RoleQueue {
				all[g] = gr
			}
		}
	}
	return all
}

// circles is how many deliveries of messages that go round and round may come
// in a row while another waits: those that were delivered frequent times or
// more.
const (
	circles  = 200
	frequent = 5
)

// rounds are the stretches in which a group got nothing but what it had had
// before.
type rounds struct {
	from, to []int // events
	total    int
}

func (q *queueView) rounds() []rounds {
	all := make([]rounds, len(q.names))
	begun, n := make([]int, len(q.names)), make([]int, len(q.names))
	visits := map[[2]int]int{}
	for k := range q.holds {
		g := q.holds[k].group
		if g < 0 {
			continue
		}
		key := [2]int{g, q.Deliveries[k].Message}
		visits[key]++
		if visits[key] < frequent {
			n[g] = 0
			continue
		}
		all[g].total++
		if n[g] == 0 {
			begun[g] = q.Deliveries[k].Event
		}
		if n[g]++; n[g] == circles {
			all[g].from, all[g].to = append(all[g].from, begun[g]), append(all[g].to, q.Deliveries[k].Event)
			n[g] = 0
		}
	}
	return all
}

// blocks returns a stretch that lies between two events, or -1.
func (r *rounds) blocks(from, to int) int {
	if i := sort.SearchInts(r.from, from+1); i < len(r.from) && r.to[i] < to {
		return i
	}
	return -1
}

func (r *rounds) show(i int) []int { return []int{r.from[i], r.to[i]} }
