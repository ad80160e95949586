package conformance

import "slices"

// consumeRules are the rules that judge messaging.Consume over a backend.
func consumeRules() []*Rule {
	return slices.Concat(consumeOrderRules(), consumeDrainRules(), []*Rule{
		{
			ID: "Q02", Name: "AtMostOnce", Flavour: ForBoth,
			Sentence: "At most once, each stored message starts at most one handler, and none after a settle that was not certain; what a queue marks redelivered is settled unhandled. A handler's failure is told to OnError.",
			Cells: map[string]Evidence{
				"none": {"started": 2000},
				"F3":   {"started": 1000, "uncertain": 50},
				"F8":   {"started": 1000, "crashes": 20},
			},
			check: checkAtMostOnce,
		},
		{
			ID: "Q07", Name: "LeaseExtend", Flavour: ForBoth,
			Sentence: "When a lease is lost, the handler's context is cancelled with cause ErrLost.",
			Cells:    map[string]Evidence{"F9": {"cancelled": 20}},
			check:    checkCancelledWhenLost,
		},
		{
			ID: "Q13", Name: "DeadLetterExact", Flavour: ForQueue,
			Sentence: "What is dead-lettered had all its attempts or was rejected, panics count, and it never comes again on the source. Each failure is told to OnError.",
			Cells:    map[string]Evidence{"none": {"dead": 300, "rejected": 100, "exhausted": 100, "failures told": 300}},
			check:    checkDeadLetterExact,
		},
		{
			ID: "Q14", Name: "DeadLetterSafe", Flavour: ForQueue,
			Sentence: "A message is never in neither place: it is settled on its source only after it was handled or its dead letter was taken, which keeps body, key, id and headers and says why, how often, where and when.",
			Cells:    map[string]Evidence{"none": {"dead": 300}, "F14": {"refused": 300, "dead": 100}},
			check:    checkDeadLetterSafe,
		},
		{
			ID: "L01", Name: "DemandBound", Flavour: ForBoth, Core: true,
			Sentence: "Running handlers never exceed Concurrency, and reach it.",
			Cells:    map[string]Evidence{"none": {"handlers at the maximum": 300}},
			check:    checkConcurrency,
		},
	})
}

// checkAtMostOnce counts handler starts, not deliveries.
func checkAtMostOnce(v *View, f *Finding) {
	checkTold(v, f, func(s *Session) bool { return s.Consume.Once })
	type copyOf struct {
		group   [2]string
		message int
	}
	first := map[copyOf]int{}
	for _, h := range v.handlings() {
		if !h.session.Consume.Once {
			continue
		}
		f.count("started", 1)
		s := h.d.Settled(Ack, Commit)
		if s == nil || s.Outcome > h.start {
			f.violate([]int{h.d.Event, h.start}, "a handler started before its settle had returned nil")
		}
		if e := v.delivered(&h); h.session.Role == RoleQueue && e.Redelivered {
			f.violate([]int{h.d.Event, h.start}, "a handler started for a message that is marked redelivered")
		}
		if h.d.Message == 0 {
			continue
		}
		key := copyOf{v.groupOf(&h), h.d.Message}
		if earlier, ok := first[key]; ok {
			f.violate([]int{earlier, h.d.Event, h.start}, "message %s started a second handler", v.name(h.d.Message-1))
			continue
		}
		first[key] = h.start
	}
	for i := range v.Events {
		switch e := &v.Events[i]; {
		case e.Kind == Crash:
			f.count("crashes", 1)
		case (e.Kind == Ack || e.Kind == Commit) && e.Code == Uncertain:
			f.count("uncertain", 1)
		}
	}
}

// checkCancelledWhenLost looks at handlers that ran when their lease was lost.
func checkCancelledWhenLost(v *View, f *Finding) {
	bound := v.Timing.withDefaults().Operation
	for _, h := range v.handlings() {
		lost := h.d.Lost
		switch {
		case h.end >= 0 && v.Events[h.end].Code == LostError:
			f.count("cancelled", 1) // its Lost may be recorded a little later
		case lost < h.start || h.end >= 0 && h.end < lost:
			// It was not lost meanwhile.
		case h.end >= 0 && v.Events[h.end].At <= v.Events[lost].At+bound+v.slack():
			// It ended by itself just then.
		default:
			f.violate([]int{h.d.Event, h.start, lost, h.end}, "the lease was lost and the handler's context not cancelled with cause ErrLost")
		}
	}
}

// checkConcurrency sweeps over starts and ends.
func checkConcurrency(v *View, f *Finding) {
	running := map[int]map[int]int{} // session to its running deliveries and their starts
	for i := range v.Events {
		e := &v.Events[i]
		if e.Session < 1 || e.Session > len(v.Sessions) || v.Sessions[e.Session-1].Consume == nil {
			continue
		}
		most := v.Sessions[e.Session-1].Consume.Concurrency
		switch e.Kind {
		case Start:
			if running[e.Session] == nil {
				running[e.Session] = map[int]int{}
			}
			running[e.Session][e.Delivery] = i
			switch n := len(running[e.Session]); {
			case n == most && most > 1:
				f.count("handlers at the maximum", 1)
			case n > most:
				f.violate([]int{i}, "%d handlers run at once, with Concurrency %d", n, most)
			}
		case End:
			delete(running[e.Session], e.Delivery)
		}
	}
}
