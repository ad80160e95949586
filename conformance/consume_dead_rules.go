package conformance

import "strings"

// copyOf is a message as one group sees it.
type copyOf struct {
	group   [2]string
	message int
}

// checkDeadLetterExact counts the failures of each message in its group before
// its dead letter, and what comes after it.
func checkDeadLetterExact(v *View, f *Finding) {
	checkTold(v, f, func(s *Session) bool { return s.Role == RoleQueue })
	failures, rejected := map[copyOf][]int{}, map[copyOf]bool{}
	attempts := map[copyOf]int{} // as the broker counted the last one
	buried := map[copyOf]int{}
	twice := v.deliveredTwice()
	for i := range v.Events {
		e := &v.Events[i]
		if e.Message < 1 || e.Session < 1 || e.Session > len(v.Sessions) {
			continue
		}
		s := &v.Sessions[e.Session-1]
		key := copyOf{[2]string{s.Channel, s.Group}, e.Message}
		if s.Consume == nil || s.Role != RoleQueue || !s.Consume.DeadLetter {
			continue
		}
		most, exact := s.Consume.MaxAttempts, v.Fault == "none" && s.ExactAttempts && !twice[key]
		switch {
		case e.Kind == Deliver:
			attempts[key] = max(attempts[key], e.Attempt)
		case e.Kind == Start:
			if at, ok := buried[key]; ok && exact {
				f.violate([]int{at, i}, "message %s came again after it was dead-lettered", v.name(e.Message-1))
			}
			if n := len(failures[key]); exact && most > 0 && n >= most {
				f.violate(append(failures[key], i), "message %s failed %d times and was tried once more, with MaxAttempts %d", v.name(e.Message-1), n, most)
			}
		case e.Kind == End && e.Code == Rejected:
			rejected[key] = true
		case e.Kind == End && e.Phase == Fail:
			failures[key] = append(failures[key], i)
		case e.Kind == Dead && e.Phase == OK:
			if _, ok := buried[key]; ok && exact {
				f.violate([]int{buried[key], i}, "message %s was dead-lettered twice", v.name(e.Message-1))
			}
			buried[key] = i
			f.count("dead", 1)
			switch n := len(failures[key]); {
			case rejected[key]:
				f.count("rejected", 1)
			case exact && n != most:
				f.violate(append(failures[key], i), "message %s was dead-lettered after %d failures, with MaxAttempts %d", v.name(e.Message-1), n, most)
			case !exact && n < most && attempts[key] < most:
				f.violate(append(failures[key], i), "message %s was dead-lettered after %d failures and attempt %d, with MaxAttempts %d", v.name(e.Message-1), n, attempts[key], most)
			default:
				f.count("exhausted", 1)
			}
		}
	}
}

// deliveredTwice returns the messages that came to their group again while
// somebody had them, or after they were acknowledged: the broker's duplicates,
// of which each copy has a life of its own.
func (v *View) deliveredTwice() map[copyOf]bool {
	twice, held := map[copyOf]bool{}, map[copyOf]*Delivery{}
	for k := range v.Deliveries {
		d := &v.Deliveries[k]
		if d.Event < 0 || d.Message < 1 {
			continue
		}
		key := copyOf{v.Group(d), d.Message}
		if before := held[key]; before != nil {
			s := before.Tried(Ack, Nack, Release)
			if s == nil || s.Invoke > d.Event || s.Kind == Ack && s.Phase == OK {
				twice[key] = true
			}
		}
		held[key] = d
	}
	return twice
}

// checkDeadLetterSafe looks at what was known when a message was settled on
// its source.
func checkDeadLetterSafe(v *View, f *Finding) {
	checkDeadLettersKeep(v, f)
	safe := map[int]bool{}     // deliveries that were handled
	taken := map[[2]int]bool{} // session and message with a dead letter that was taken
	for i := range v.Events {
		e := &v.Events[i]
		switch {
		case e.Kind == End && e.Phase == OK:
			safe[e.Delivery] = true
		case e.Kind == Dead && e.Phase == OK:
			f.count("dead", 1)
			taken[[2]int{e.Session, e.Message}] = true
		case e.Kind == Dead && e.Phase != Invoke:
			f.count("refused", 1)
		case e.Kind == Ack && e.Phase == Invoke && e.Delivery >= 1 && e.Delivery <= len(v.Deliveries):
			d := &v.Deliveries[e.Delivery-1]
			if d.Event < 0 || !v.buries(d.Session) || safe[e.Delivery] || taken[[2]int{d.Session, d.Message}] {
				continue
			}
			f.violate([]int{d.Event, i}, "a delivery was acknowledged that was neither handled nor in the dead letters")
		}
	}
}

// buries says whether a session is a Consume at least once with a DeadLetter.
func (v *View) buries(session int) bool {
	c := v.Sessions[session-1].Consume
	return c != nil && c.DeadLetter && !c.Once
}

// copyIn returns the copy of a message that an event of a session is of.
func (v *View) copyIn(e *Event) copyOf {
	if e.Session < 1 || e.Session > len(v.Sessions) {
		return copyOf{}
	}
	s := &v.Sessions[e.Session-1]
	return copyOf{[2]string{s.Channel, s.Group}, e.Message}
}

// checkLetter compares what dead letter i says of itself with the handlers of
// its message that failed, the last one with the delivery that is dead. One
// whose earlier attempts ended without a result is dead without another start.
func (v *View) checkLetter(f *Finding, i int, failures []int) {
	e, failed := &v.Events[i], failures[len(failures)-1]
	last := &v.Events[failed]
	shown := []int{failed, i}
	if !strings.Contains(e.Text, last.Text) {
		f.violate(shown, "a dead letter gives the reason %q, and the handler failed with %q", e.Text, last.Text)
	}
	skew := v.Timing.withDefaults().ClockSkew
	if at := e.Published; at.Before(v.wall(failed).Add(-skew)) || at.After(v.wall(i).Add(skew)) {
		f.violate(shown, "a dead letter is of %v, and its handler failed at %v", at, v.wall(failed))
	}
	s := &v.Sessions[e.Session-1]
	if v.Fault != "none" || v.Duplicates || s.Attempts && !s.ExactAttempts {
		return // others count, too
	}
	if e.Attempt < 1 || e.Attempt > len(failures) || s.ExactAttempts && e.Attempt < len(failures) {
		f.violate(shown, "a dead letter tells of %d attempts, of which %d failed", e.Attempt, len(failures))
	}
}

// checkDeadLettersKeep compares each dead letter with its source.
func checkDeadLettersKeep(v *View, f *Finding) {
	id := map[int]string{}         // of messages as they were delivered
	failures := map[copyOf][]int{} // the ends of handlers
	last := map[copyOf]int{}       // the latest delivery
	for i := range v.Events {
		e := &v.Events[i]
		switch {
		case e.Kind == Deliver && e.Message > 0:
			id[e.Message], last[v.copyIn(e)] = e.ID, i
		case e.Kind == Dead && e.Phase == Invoke:
			if e.Diff != "" {
				f.violate([]int{i}, "a dead letter differs from its source: %s", e.Diff)
			} else if e.ID != id[e.Message] {
				f.violate([]int{i}, "a dead letter has the id %q, its source %q", e.ID, id[e.Message])
			}
			if of := failures[v.copyIn(e)]; len(of) > 0 && of[len(of)-1] > last[v.copyIn(e)] {
				v.checkLetter(f, i, of)
			}
		case e.Kind == End && e.Phase == Fail:
			failures[v.copyIn(e)] = append(failures[v.copyIn(e)], i)
		}
	}
}
