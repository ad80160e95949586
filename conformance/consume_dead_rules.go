package conformance

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
			taken[[2]int{e.Session, e.Message}] = true
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

// checkDeadLettersKeep compares each dead letter with its source.
func checkDeadLettersKeep(v *View, f *Finding) {
	id := map[int]string{} // of messages as they were delivered
	for i := range v.Events {
		e := &v.Events[i]
		switch {
		case e.Kind == Deliver && e.Message > 0:
			id[e.Message] = e.ID
		case e.Kind == Dead && e.Phase == Invoke:
			if e.Diff != "" {
				f.violate([]int{i}, "a dead letter differs from its source: %s", e.Diff)
			} else if e.ID != id[e.Message] {
				f.violate([]int{i}, "a dead letter has the id %q, its source %q", e.ID, id[e.Message])
			}
		case e.Kind == Dead && e.Phase == OK:
			f.count("dead", 1)
		case e.Kind == Dead:
			f.count("refused", 1)
		}
	}
}
