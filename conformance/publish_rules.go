package conformance

// publishRules are P01 to P12.
func publishRules() []*Rule {
	return []*Rule{
		{
			ID: "P01", Name: "AckedNotLost", Flavour: ForBoth, Core: true,
			Sentence: "When Publish returned nil, every group whose subject matches gets the message settled in the end, or it is in its dead letters.",
			Cells: map[string]Evidence{
				"none": {"acknowledged": 3500, "beside others": 3500},
				"F3":   {"acknowledged": 2000, "hits": 10},
				"F6":   {"acknowledged": 1000},
			},
			check: checkAckedNotLost,
		},
		{
			ID: "P02", Name: "RoutedOrError", Flavour: ForBoth, Core: true,
			Sentence: "Publishing to a destination that is missing is ErrNotFound, and so is opening one with create=false, also where the broker would create it. A subject that no subscription matches is an error or nil, as claimed, and is not delivered.",
			Cells:    map[string]Evidence{"none": {"opened": 30}},
			check:    checkRoutedOrError,
		},
		{
			ID: "P03", Name: "NoPhantom", Flavour: ForBoth, Core: true,
			Sentence: "Every delivery is of a message that somebody began to publish to that channel before.",
			Cells:    map[string]Evidence{"none": {"delivered": 3500}, "F3": {"delivered": 2000}, "F8": {"delivered": 2000}},
			check:    checkNoPhantom,
		},
		{
			ID: "P04", Name: "FailMeansNot", Flavour: ForBoth, Core: true,
			Sentence: "A message that Publish reported as failed, and not as ErrUncertain, is never delivered.",
			Cells: map[string]Evidence{
				"none": {"failed": 300},
				"F3":   {"failed": 300, "uncertain": 100},
				"F6":   {"failed or uncertain": 300},
			},
			check: checkFailMeansNot,
		},
		{
			ID: "P05", Name: "NoEarlyAck", Flavour: ForBoth,
			Sentence: "Publish does not return nil before the broker took responsibility: never while the broker is stopped.",
			Cells:    map[string]Evidence{"F6": {"waited": 1000, "gave up": 300}},
			check:    checkNoEarlyAck,
		},
		{
			ID: "P06", Name: "Fidelity", Flavour: ForBoth, Core: true,
			Sentence: "Body, key, subject and headers are delivered byte by byte as they were published, at each delivery, whatever the publisher did with its buffers after Publish and other consumers with what they were given.",
			Cells:    map[string]Evidence{"none": {"delivered": 3500, "redelivered": 2301}, "F8": {"redelivered": 2301}},
			check:    checkFidelity,
		},
		{
			ID: "P07", Name: "BatchOutcome", Flavour: ForBoth, Core: true,
			Sentence: "A call with several messages reports the outcome of each in its place: the failure of one hides neither the success nor the failure of another.",
			Cells:    map[string]Evidence{"none": {"taken beside a failure": 2301, "failed beside a success": 100}},
			check:    checkBatchOutcome,
		},
		{
			ID: "P08a", Name: "RetryNoDup", Flavour: ForBoth,
			Sentence: "What one Publish retries is stored once.",
			Cells:    map[string]Evidence{"none": {"stored": 3500}, "F3": {"stored": 2000, "hits": 10}},
			check:    checkRetryNoDup,
		},
		{
			ID: "P08b", Name: "SameIdOnce", Flavour: ForBoth, Timed: true,
			Sentence: "Messages that are published with one id within the broker's window, which counts from the first attempt, are stored once.",
			Cells:    map[string]Evidence{"F3": {"repeated": 2301, "repeated after uncertain": 100, "repeated too late": 300}},
			check:    checkSameIDOnce,
		},
		{
			ID: "P09", Name: "ProducerOrder", Flavour: ForBoth,
			Sentence: "Messages of one publisher with one key are stored in the order in which they were published, in one call and over calls that follow one another, except after ErrUncertain.",
			Cells:    map[string]Evidence{"none": {"pairs": 2301, "around a refusal": 300}, "F3": {"pairs": 2000}},
			check:    checkProducerOrder,
		},
		{
			ID: "P10", Name: "CloseFlush", Flavour: ForBoth, Core: true, Timed: true,
			Sentence: "When a publisher's Close returned nil, every message that it was given has an outcome that is not ErrUncertain and that is true. Close ends within its bound. What is published afterwards is ErrClosed and never delivered.",
			Cells:    map[string]Evidence{"none": {"closed": 90, "refused": 300}, "F6": {"closed": 30, "under way": 300}},
			check:    checkCloseFlush,
		},
		{
			ID: "P11", Name: "Identity", Flavour: ForBoth, Core: true,
			Sentence: "The id of a message is unique, the publisher's if it set one, and the same at each delivery and in each group; Publish changes nothing in its arguments; Published is within the time of Publish and does not change, or it is zero.",
			Cells: map[string]Evidence{
				"none": {"delivered": 3500, "redelivered": 2301, "in several groups": 2301},
				"F3":   {"delivered": 2000},
				"F8":   {"redelivered": 2301},
			},
			check: checkIdentity,
		},
		{
			ID: "P12", Name: "Definite", Flavour: ForBoth, Core: true, Timed: true,
			Sentence: "Without faults Publish is nil, within its time. A message that is too large, a destination that is missing, a publisher that is closed and a context that has ended are told as what they are, never as ErrUncertain, and harm no neighbour.",
			Cells:    map[string]Evidence{"none": {"taken": 3500, "refused: too large": 100, "refused: closed": 100, "with an ended context": 300}},
			check:    checkDefinite,
		},
	}
}

// checkAckedNotLost counts what was acknowledged to a publisher and then never
// settled. A message that was delivered once and then lost counts as lost: its
// settle never came.
func checkAckedNotLost(v *View, f *Finding) {
	groups := v.groups()
	for n := range v.Messages {
		acked := v.acknowledged(n)
		if acked < 0 {
			continue
		}
		for _, g := range groups {
			if !v.expects(g, n) {
				continue
			}
			f.count("acknowledged", 1)
			if v.doneFor(g, n) {
				continue
			}
			switch at := v.lastDelivery(g, n); {
			case at < 0:
				f.violate([]int{acked}, "message %s was acknowledged and never delivered to group %q", v.name(n), g.group)
			default:
				f.violate([]int{acked, at}, "message %s was acknowledged, delivered to group %q, and never settled nor delivered again", v.name(n), g.group)
			}
		}
	}
	f.count("beside others", v.besideOthers())
	f.count("hits", v.hits())
}

// besideOthers counts the deliveries that came while another consumer of the
// group held something, of the groups in which each of the consumers got a
// part of at least 30 %.
func (v *View) besideOthers() (n int) {
	type share struct {
		of     map[int]int // deliveries, by session
		beside int
		holds  map[int]bool // a lower bound: from a delivery to its session's next settle
	}
	shares := map[[2]string]*share{}
	for i := range v.Events {
		e := &v.Events[i]
		if e.Session < 1 || e.Session > len(v.Sessions) || v.Sessions[e.Session-1].Role == RolePublisher {
			continue
		}
		s := &v.Sessions[e.Session-1]
		of := shares[[2]string{s.Channel, s.Group}]
		if of == nil {
			of = &share{of: map[int]int{}, holds: map[int]bool{}}
			shares[[2]string{s.Channel, s.Group}] = of
		}
		switch e.Kind {
		case Deliver:
			of.of[e.Session]++
			of.holds[e.Session] = true
			if len(of.holds) > 1 {
				of.beside++
			}
		case Ack, Nack, Release, Commit, Close, Crash:
			delete(of.holds, e.Session)
		}
	}
	for _, of := range shares {
		all, least := 0, 0
		for _, got := range of.of {
			if all += got; least == 0 || got < least {
				least = got
			}
		}
		if least*10 >= all*3 {
			n += of.beside
		}
	}
	return n
}

// hits is how often a fault hit something.
func (v *View) hits() (n int) {
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Fault && e.Phase == OK {
			n += e.Max
		}
	}
	return n
}
