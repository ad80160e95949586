package conformance

// group is what shares the messages of a channel: a queue's subscription or
// a stream's consumer group.
type group struct {
	channel, group string
	role           Role
	subject        string
	start          string
	opened         int // the event that opened its first session
}

// groups returns the groups of the history that were drained: a reader
// without group= of a stream is none.
func (v *View) groups() []group {
	var gs []group
	seen := map[[2]string]bool{}
	for i := range v.Events {
		e := &v.Events[i]
		if e.Kind != Open || e.Phase != OK || e.Session < 1 || e.Session > len(v.Sessions) {
			continue
		}
		s := &v.Sessions[e.Session-1]
		key := [2]string{s.Channel, s.Group}
		if s.Role == RolePublisher || s.Role == RoleStream && s.Group == "" || seen[key] {
			continue
		}
		seen[key] = true
		gs = append(gs, group{channel: s.Channel, group: s.Group, role: s.Role, subject: s.Subject, start: s.Start, opened: i})
	}
	return gs
}

// acknowledged returns the event in which message n (from 0) was first
// published with success, or -1.
func (v *View) acknowledged(n int) int {
	for _, p := range v.Publications[n] {
		if p.Phase == OK {
			return p.Outcome
		}
	}
	return -1
}

// expects says whether g is to get message n: it was published after the
// group was opened, and its subject matches.
func (v *View) expects(g group, n int) bool {
	m := &v.Messages[n]
	if m.Channel != g.channel || !matches(g.subject, m.Subject) {
		return false
	}
	early := len(v.Publications[n]) > 0 && v.Publications[n][0].Invoke < g.opened
	// A queue without group= is there from creation, and a stream starts at
	// the earliest unless it says otherwise.
	return !early || g.role == RoleQueue && g.group == "" || g.role == RoleStream && (g.start == "" || g.start == "earliest")
}

// doneFor says whether message n was settled as done in g: an Ack or Commit
// was tried, or, on a stream, one of a later delivery of its partition.
func (v *View) doneFor(g group, n int) bool {
	for _, k := range v.OfMessage[n] {
		d := &v.Deliveries[k]
		if v.Group(d) == [2]string{g.channel, g.group} && (d.Tried(Ack, Commit) != nil || v.coveredBy(d)) {
			return true
		}
	}
	return false
}

// lastDelivery returns the event of the last delivery of message n in g, or
// -1.
func (v *View) lastDelivery(g group, n int) int {
	last := -1
	for _, k := range v.OfMessage[n] {
		if d := &v.Deliveries[k]; v.Group(d) == [2]string{g.channel, g.group} {
			last = d.Event
		}
	}
	return last
}

// name returns how message n is called in texts.
func (v *View) name(n int) string {
	return value(v.Messages[n].Producer, v.Messages[n].Counter)
}
