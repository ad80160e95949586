package conformance

// factUnroutable is Target.Unroutable.
const factUnroutable = "unroutable"

// checkRoutedOrError looks at what was opened and published where nothing is.
func checkRoutedOrError(v *View, f *Finding) {
	for call, invoke := range v.Invokes {
		if invoke < 0 || v.Events[invoke].Kind != Open || v.Events[invoke].Code != NotFound {
			continue
		}
		for _, i := range v.Outcomes[call] {
			f.count("opened", 1)
			if e := &v.Events[i]; e.Phase == OK || e.Code != NotFound {
				f.violate([]int{invoke, i}, "what is missing was opened with create=false, which is to be ErrNotFound: %s", orNil(e))
			}
		}
	}
	unmatched := OK
	if v.Facts[factUnroutable] > 0 {
		unmatched = Fail
	}
	for n := range v.Messages {
		for _, p := range v.Publications[n] {
			switch v.Events[p.Invoke].Code {
			case NotFound:
				f.count("published to nothing", 1)
				if p.Outcome >= 0 && p.Code != NotFound {
					f.violate([]int{p.Invoke, p.Outcome}, "message %s was published to a channel that was deleted, which is to be ErrNotFound: %s", v.name(n), orNil(&v.Events[p.Outcome]))
				}
			case Unmatched:
				f.count("unmatched", 1)
				if p.Outcome >= 0 && p.Phase != unmatched {
					f.violate([]int{p.Invoke, p.Outcome}, "message %s has a subject that no subscription matches, and Publish is not what the target says: %s", v.name(n), orNil(&v.Events[p.Outcome]))
				}
				if len(v.OfMessage[n]) > 0 {
					f.violate([]int{p.Invoke, v.Deliveries[v.OfMessage[n][0]].Event}, "message %s was delivered to a subscription that its subject does not match", v.name(n))
				}
			}
		}
	}
}

// orNil is the text of an outcome.
func orNil(e *Event) string {
	if e.Phase == OK {
		return "it returned nil"
	}
	return e.Text
}

// failed says whether all that was tried with message n is certain to have
// failed.
func (v *View) failedForSure(n int) bool {
	for _, p := range v.Publications[n] {
		if p.Phase != Fail {
			return false
		}
	}
	return len(v.Publications[n]) > 0
}

// checkFailMeansNot looks for deliveries of what was told to have failed.
func checkFailMeansNot(v *View, f *Finding) {
	for n := range v.Messages {
		if !v.failedForSure(n) {
			for _, p := range v.Publications[n] {
				if p.Phase == Info {
					f.count("uncertain", 1)
					f.count("failed or uncertain", 1)
				}
			}
			continue
		}
		f.count("failed", 1)
		f.count("failed or uncertain", 1)
		v.notDelivered(n, v.Publications[n][0].Outcome, f)
	}
}

// notDelivered accuses the delivery of message n, of which outcome said that
// it failed.
func (v *View) notDelivered(n, outcome int, f *Finding) {
	if of := v.OfMessage[n]; len(of) > 0 {
		f.violate([]int{outcome, v.Deliveries[of[0]].Event}, "message %s was delivered although its Publish had certainly failed: %s", v.name(n), v.Events[outcome].Text)
	}
}

// checkNoEarlyAck looks for what was acknowledged by a broker that stood
// still.
func checkNoEarlyAck(v *View, f *Finding) {
	window := make([]int, len(v.Events)) // the fault event that began the pause that an event is in, plus 1
	open := 0
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Fault && e.Text == "F6" {
			open = 0
			if e.Phase == Invoke {
				open = i + 1
			}
		}
		window[i] = open
	}
	for n := range v.Messages {
		for _, p := range v.Publications[n] {
			switch within := window[p.Invoke]; {
			case within == 0 || p.Outcome < 0:
			case window[p.Outcome] != within:
				if p.Phase == OK {
					f.count("waited", 1)
				}
			case p.Phase == OK:
				f.violate([]int{within - 1, p.Invoke, p.Outcome}, "Publish of message %s was nil while the broker was stopped", v.name(n))
			default:
				f.count("gave up", 1)
			}
		}
	}
}

// unlimited counts what needs messages that are too large where there is no
// such thing.
func (v *View) unlimited(f *Finding, names ...string) {
	if v.Facts[factNoLimit] > 0 {
		for _, name := range names {
			f.count(name, 1<<20)
		}
	}
}

// checkBatchOutcome looks at the calls of which some places failed, or had to.
func checkBatchOutcome(v *View, f *Finding) {
	v.unlimited(f, "taken beside a failure", "failed beside a success")
	groups := v.groups()
	failed := make([]bool, len(v.Invokes)) // by call
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Publish && e.Call > 0 && e.Call <= len(failed) && (e.Phase == Fail || e.Code != NoError) {
			failed[e.Call-1] = true
		}
	}
	for n := range v.Messages {
		if len(v.Publications[n]) != 1 {
			continue
		}
		p := v.Publications[n][0]
		call := v.Events[p.Invoke].Call
		if p.Outcome < 0 || call < 1 || call > len(failed) || !failed[call-1] || len(v.Outcomes[call-1]) < 2 {
			continue
		}
		switch p.Phase {
		case Fail:
			f.count("failed beside a success", 1)
			v.notDelivered(n, p.Outcome, f)
		case OK:
			f.count("taken beside a failure", 1)
			for _, g := range groups {
				if v.expects(g, n) && !v.doneFor(g, n) {
					f.violate([]int{p.Outcome}, "message %s has the outcome nil in a call in which others failed, and was never delivered to group %q", v.name(n), g.group)
				}
			}
		}
	}
}

// closing is the Close of a publisher's session.
type closing struct {
	invoke, outcome int // events; outcome is -1 if it never ended
	phase           Phase
}

// closings returns the first Close of each publisher, by Event.Session - 1.
func (v *View) closings() []closing {
	cs := make([]closing, len(v.Sessions))
	for i := range cs {
		cs[i] = closing{invoke: -1, outcome: -1}
	}
	for i := range v.Events {
		e := &v.Events[i]
		if e.Kind != Close || e.Session < 1 || e.Session > len(cs) || v.Sessions[e.Session-1].Role != RolePublisher {
			continue
		}
		switch c := &cs[e.Session-1]; {
		case e.Phase == Invoke && c.invoke < 0:
			c.invoke = i
		case e.Phase != Invoke && c.outcome < 0 && c.invoke >= 0 && v.Events[c.invoke].Call == e.Call:
			c.outcome, c.phase = i, e.Phase
		}
	}
	return cs
}

// checkCloseFlush judges each Close, and what its publisher was given before
// and after it.
func checkCloseFlush(v *View, f *Finding) {
	cs := v.closings()
	bound := v.Timing.withDefaults().Operation + v.Timing.withDefaults().Reconnect
	for _, c := range cs {
		if c.outcome < 0 {
			continue
		}
		f.count("closed", 1)
		if took := v.Events[c.outcome].At - v.Events[c.invoke].At; took > bound {
			f.violate([]int{c.invoke, c.outcome}, "Close of a publisher took %v, and may take %v", took, bound)
		}
	}
	groups := v.groups()
	for n := range v.Messages {
		if len(v.Publications[n]) != 1 {
			continue
		}
		p := v.Publications[n][0]
		if p.Outcome < 0 || p.Session < 1 || p.Session > len(cs) || cs[p.Session-1].outcome < 0 {
			continue
		}
		switch c := cs[p.Session-1]; {
		case p.Invoke > c.outcome:
			f.count("refused", 1)
			if p.Code != Closed {
				f.violate([]int{c.outcome, p.Invoke, p.Outcome}, "Publish of message %s after Close was not ErrClosed: %s", v.name(n), orNil(&v.Events[p.Outcome]))
			}
			v.notDeliveredAfter(n, c.outcome, f)
		case p.Outcome > c.invoke && p.Invoke < c.invoke:
			f.count("under way", 1)
			fallthrough
		default:
			v.flushed(n, p, c, groups, f)
		}
	}
}

// notDeliveredAfter accuses the delivery of a message that was published after
// its publisher's Close.
func (v *View) notDeliveredAfter(n, closed int, f *Finding) {
	if of := v.OfMessage[n]; len(of) > 0 {
		f.violate([]int{closed, v.Deliveries[of[0]].Event}, "message %s was published after Close, and delivered", v.name(n))
	}
}

// flushed judges the outcome of a message that was given to a publisher before
// that was closed.
func (v *View) flushed(n int, p Publication, c closing, groups []group, f *Finding) {
	late := v.Events[p.Outcome].At - v.Events[c.outcome].At
	if c.phase == OK && p.Invoke < c.invoke && late > v.Timing.withDefaults().Operation/10+v.slack() {
		f.violate([]int{p.Invoke, c.outcome, p.Outcome}, "Close was nil, and message %s had no outcome until %v later", v.name(n), late)
	}
	switch p.Phase {
	case Info:
		if c.phase == OK {
			f.violate([]int{p.Invoke, c.outcome, p.Outcome}, "Close was nil, and the outcome of message %s is unknown: %s", v.name(n), v.Events[p.Outcome].Text)
		}
	case Fail:
		v.notDelivered(n, p.Outcome, f)
		// What was recorded as begun may not have begun yet: time tells.
		if p.Code == Closed && c.phase == OK && v.after(c.invoke, p.Invoke) {
			f.violate([]int{p.Invoke, c.outcome, p.Outcome}, "Close was nil, and message %s, which was given to the publisher before, was not sent", v.name(n))
		}
	case OK:
		for _, g := range groups {
			if v.expects(g, n) && !v.doneFor(g, n) {
				f.violate([]int{p.Outcome, c.outcome}, "message %s was acknowledged by a publisher that was then closed, and never delivered to group %q", v.name(n), g.group)
			}
		}
	}
}

// checkDefinite judges outcomes by what they had to be.
func checkDefinite(v *View, f *Finding) {
	v.unlimited(f, "refused: too large")
	cs := v.closings()
	bound := v.Timing.withDefaults().Operation
	for n := range v.Messages {
		for _, p := range v.Publications[n] {
			if p.Outcome < 0 {
				continue
			}
			e, text := &v.Events[p.Outcome], "" // what is wrong
			switch refuse := v.Events[p.Invoke].Code; refuse {
			case NoError:
				if p.Session >= 1 && p.Session <= len(cs) && cs[p.Session-1].invoke >= 0 && p.Outcome > cs[p.Session-1].invoke {
					continue // it may be ErrClosed
				}
				f.count("taken", 1)
				if took := e.At - v.Events[p.Invoke].At; p.Phase != OK {
					text = "nothing is wrong with it, and it was refused"
				} else if took > bound {
					text = "it took " + took.String()
				}
			case Canceled, Deadline:
				f.count("with an ended context", 1)
				if p.Phase == Info || p.Phase == Fail && p.Code != refuse {
					text = "its context had ended before, and that is not what it says"
				}
			case Unmatched:
				continue
			default:
				f.count("refused: "+string(refuse), 1)
				if p.Phase != Fail || p.Code != refuse {
					text = "it has to be refused with " + string(refuse)
				}
			}
			if text != "" {
				f.violate([]int{p.Invoke, p.Outcome}, "Publish of message %s: %s: %s", v.name(n), text, orNil(e))
			}
		}
	}
}
