package conformance

import "fmt"

// checkCompeting looks for messages that came to two consumers of one group,
// or to none of some group, without a reason.
func checkCompeting(v *View, f *Finding) {
	q := v.queues()
	groups := q.known()
	with := 0
	for g := range groups {
		f.count("shared", q.shared[g])
		if q.shared[g] > 0 {
			with++
		}
	}
	f.count("groups", with)
	for k := range q.holds {
		h, d := &q.holds[k], &q.Deliveries[k]
		if h.group < 0 || h.next < 0 {
			continue
		}
		if s := d.Settled(Ack); s != nil && s == &d.Settles[0] && q.Deliveries[h.next].Event < h.excuse || q.holding(k, h.next) {
			f.violate(q.show(k, h.next), "message %s came twice to group %q, where it had not failed", q.called(k), groups[h.group].group)
		}
	}
	q.checkReached(groups, f, func(group) bool { return true })
}

// checkReached looks for messages that never came to a group that was to get
// them.
func (q *queueView) checkReached(groups []group, f *Finding, judged func(group) bool) {
	for g, gr := range groups {
		if !judged(gr) {
			continue
		}
		begun := q.begun(g, gr)
		hard := q.Timing.Redelivery + 4*q.lease(g)
		for n := range q.Messages {
			acked := q.acknowledged(n)
			if acked < 0 || !q.expects(gr, n) || q.Publications[n][0].Invoke < begun {
				continue
			}
			f.count("expected", 1)
			if !q.reached(g, n) && q.waited(g, q.Events[acked].At, q.until(-1), hard) {
				f.violate([]int{acked}, "message %s, subject %q, was published and never came to group %q, pattern %q", q.name(n), q.Messages[n].Subject, gr.group, gr.subject)
			}
		}
	}
}

// begun returns the event from which a group is judged by what it misses: it
// has got something. One that never does is judged from its start.
func (q *queueView) begun(g int, gr group) int {
	if gr.subject == "" {
		return 0
	}
	for k := range q.holds {
		if q.holds[k].group == g {
			return q.Deliveries[k].Event
		}
	}
	return 0
}

// reached says whether message n was delivered to group g.
func (q *queueView) reached(g, n int) bool {
	for _, k := range q.OfMessage[n] {
		if q.holds[k].group == g {
			return true
		}
	}
	return false
}

// checkRouting compares what came to groups with patterns with their patterns.
func checkRouting(v *View, f *Finding) {
	q := v.queues()
	groups := q.known()
	starts := make([]int, len(groups))
	for g, gr := range groups {
		if gr.subject == "" {
			continue
		}
		starts[g] = q.begun(g, gr)
		for n := range q.Messages {
			m := &q.Messages[n]
			if m.Channel == gr.channel && !matches(gr.subject, m.Subject) && len(q.Publications[n]) > 0 && q.Publications[n][0].Invoke > starts[g] {
				f.count("not for the group", 1)
			}
		}
	}
	for k := range q.holds {
		d, g := &q.Deliveries[k], q.holds[k].group
		if g < 0 || d.Message == 0 || groups[g].subject == "" {
			continue
		}
		m := &q.Messages[d.Message-1]
		if ps := q.Publications[d.Message-1]; len(ps) > 0 && ps[0].Invoke > starts[g] && !matches(groups[g].subject, m.Subject) {
			f.violate(q.show(k), "message %s, subject %q, came to group %q, pattern %q", q.called(k), m.Subject, groups[g].group, groups[g].subject)
		}
	}
	q.checkReached(groups, f, func(gr group) bool { return gr.subject != "" })
}

// keyQueue is the messages of one publisher with one key, in the order in which
// they were published, as one group works through them.
type keyQueue struct {
	messages []int // numbers from 0
	done     int   // how many of the first an Ack was tried for
}

type keyQueueID struct {
	group, producer int
	key             string
}

// checkGroupFIFO looks for messages of one key that came before an earlier one
// was acknowledged, or while another was held.
func checkGroupFIFO(v *View, f *Finding) {
	q := v.queues()
	lanes := q.keyQueues()
	tried := map[[2]int]bool{} // by group and message, that an Ack was tried
	holders := map[[2]string]int{}
	for g := range q.names {
		f.count("shared", q.shared[g])
	}
	for i := range q.Events {
		e := &q.Events[i]
		if e.Delivery < 1 || e.Delivery > len(q.Deliveries) || q.holds[e.Delivery-1].group < 0 {
			continue
		}
		k := e.Delivery - 1
		g, d := q.holds[k].group, &q.Deliveries[k]
		if e.Kind == Ack && d.Message > 0 {
			tried[[2]int{g, d.Message - 1}] = true
		}
		if e.Kind != Deliver || d.Message == 0 || q.Messages[d.Message-1].Key == "" || q.session(k).Order == "Unordered" {
			continue
		}
		if q.Duplicates && tried[[2]int{g, d.Message - 1}] {
			continue // once more, where that may be
		}
		m := &q.Messages[d.Message-1]
		f.count("ordered", 1)
		q.countPath(k, f)
		held := [2]string{fmt.Sprint(g), m.Key}
		if h, ok := holders[held]; ok && q.Deliveries[h].Message != d.Message && q.holding(h, k) {
			f.violate(q.show(h, k), "messages %s and %s of key %s were held at once", q.called(h), q.called(k), m.Key)
		}
		holders[held] = k
		l := lanes[keyQueueID{g, m.Producer, m.Key}]
		if l == nil {
			continue
		}
		for l.done < len(l.messages) && tried[[2]int{g, l.messages[l.done]}] {
			l.done++
		}
		if l.done < len(l.messages) && q.follows(d.Message-1, l.messages[l.done]) {
			f.violate(q.show(append(q.inGroup(g, l.messages[l.done]), k)...), "message %s of key %s came before %s, which is earlier, was acknowledged", q.called(k), m.Key, q.name(l.messages[l.done]))
		}
	}
}

// countPath counts how delivery k comes again.
func (q *queueView) countPath(k int, f *Finding) {
	prev := q.holds[k].prev
	if prev < 0 {
		return
	}
	var b failures
	b.add(q, prev)
	if b.latest != "" {
		f.count(b.latest, 1)
	}
}

// inGroup returns the deliveries of message n to group g, the first few.
func (q *queueView) inGroup(g, n int) []int {
	var ks []int
	for _, k := range q.OfMessage[n] {
		if q.holds[k].group == g && len(ks) < 3 {
			ks = append(ks, k)
		}
	}
	return ks
}

// keyQueues returns the messages with keys whose place is certain: published
// once, with success, in calls that followed one another.
func (q *queueView) keyQueues() map[keyQueueID]*keyQueue {
	lanes := map[keyQueueID]*keyQueue{}
	for g, gr := range q.known() {
		for n := range q.Messages {
			m := &q.Messages[n]
			if m.Key == "" || !q.expects(gr, n) || len(q.Publications[n]) != 1 || q.Publications[n][0].Phase != OK {
				continue
			}
			key := keyQueueID{g, m.Producer, m.Key}
			if lanes[key] == nil {
				lanes[key] = &keyQueue{}
			}
			lanes[key].messages = append(lanes[key].messages, n)
		}
	}
	return lanes
}

// follows says that message n was published after message m, which is of the
// same publisher: in a later call, or later in the same one.
func (q *queueView) follows(n, m int) bool {
	if n == m || len(q.Publications[n]) != 1 || len(q.Publications[m]) != 1 {
		return false
	}
	a, b := q.Publications[m][0], q.Publications[n][0]
	if ea, eb := &q.Events[a.Invoke], &q.Events[b.Invoke]; ea.Call == eb.Call {
		return ea.Place < eb.Place
	}
	return a.Outcome >= 0 && a.Outcome < b.Invoke
}
