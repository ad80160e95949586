package conformance

import "slices"

// stormCell is what rules need under a fault, beside the cuts.
type stormCell struct {
	id      string
	flavour Flavour
	faults  []string // nil: all of a storm's
	needs   Evidence
}

// stormCells are the rules that a storm's histories are judged by. Those that
// say when something comes are not among them: a storm is no time to say so.
// Nor is Q05: over a connection that is cut at one end only, the broker gives a
// message to somebody else before its holder can know.
func stormCells() []stormCell {
	acknowledged := Evidence{"acknowledged": 2000}
	cutting := slices.DeleteFunc(stormFaults(), func(f string) bool { return f == "F4" }) // who cuts nothing makes nobody begin again
	return []stormCell{
		{"P01", ForBoth, nil, acknowledged},
		{"P03", ForBoth, nil, Evidence{"delivered": 2000}},
		{"P04", ForBoth, nil, Evidence{"failed or uncertain": 10}},
		{"P06", ForBoth, nil, Evidence{"delivered": 2000}},
		{"P08a", ForBoth, nil, Evidence{"stored": 2000}},
		{"P09", ForStream, nil, Evidence{"pairs": 1000}},
		{"P11", ForBoth, nil, Evidence{"delivered": 2000}},
		{"Q01", ForQueue, cutting, Evidence{"in hand at a cut": 100}},
		{"Q03", ForQueue, nil, Evidence{"acknowledged, and watched for a lease": 1000}},
		{"Q15", ForQueue, nil, Evidence{"settled": 2000, "probes": 1}},
		{"S01", ForStream, nil, Evidence{"positions": 2000}},
		{"S02", ForStream, nil, Evidence{"positions": 2000}},
		{"S03", ForStream, nil, Evidence{"pairs": 1000}},
		{"S04", ForStream, nil, Evidence{"pairs": 1000}},
		{"S05", ForStream, nil, acknowledged},
		{"S09", ForStream, cutting, Evidence{"resumes": 10}},
		{"S10", ForStream, cutting, Evidence{"resumes": 10}},
		{"S16", ForStream, cutting, Evidence{"resumes": 10}},
		{"L06", ForBoth, nil, Evidence{"resumed": 10}},
		{"L08", ForBoth, nil, Evidence{"received": 100}},
	}
}

// stormRuleIDs returns the rules of a flavour that a storm of a fault is for.
func stormRuleIDs(f Flavour, fault string) (ids []string) {
	for _, c := range stormCells() {
		if c.flavour&f != 0 && (c.faults == nil || slices.Contains(c.faults, fault)) {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// stormRules are the cells of storms, as parts of their rules.
func stormRules() []*Rule {
	var parts []*Rule
	for _, c := range stormCells() {
		rule := &Rule{ID: c.id, Flavour: c.flavour, Cells: map[string]Evidence{}, check: checkCuts}
		if c.id == "Q01" {
			rule.check = checkHeldAtCuts
		}
		for _, fault := range stormFaults() {
			if c.faults != nil && !slices.Contains(c.faults, fault) {
				continue
			}
			needs := Evidence{}
			for name, n := range c.needs {
				needs[name] = n
			}
			switch fault {
			case "F4":
				needs[cutsDelayed] = 100
			case "F5", "F7": // few, since each takes its time
				needs[cutsInFlight] = 5
				for name, few := range map[string]int{"resumed": 5, "received": 50, "in hand at a cut": 50} {
					if needs[name] > 0 {
						needs[name] = few
					}
				}
			default:
				needs[cutsInFlight] = 10
			}
			rule.Cells[fault] = needs
		}
		parts = append(parts, rule)
	}
	return parts
}

const (
	cutsInFlight = "cuts with messages in flight"
	cutsDelayed  = "pieces delayed"
)

// checkCuts counts how many cuts there were, of how many connections, with how
// many messages in flight: a message is while a Publish of it is under way, and
// while a consumer holds it.
func checkCuts(v *View, f *Finding) {
	flying := newFlying(v)
	cuts := 0
	defer func() {
		if cuts > 0 && f.Evidence[cutsInFlight] == 0 {
			f.unsure("%s: %d cuts, and nothing in flight at any", v.Scenario, cuts)
		}
	}()
	for i := range v.Events {
		e := &v.Events[i]
		flying.see(e)
		switch {
		case e.Kind == Cut:
			cuts++
			f.count("connections cut", e.Max)
			if n := flying.n(); n > 0 && e.Max > 0 {
				f.count(cutsInFlight, 1)
				f.count("in flight at cuts", n)
			}
		case e.Kind == Fault && e.Phase == OK && e.Text == "F4":
			f.count(cutsDelayed, e.Max)
		}
	}
}

// flying counts the messages in flight, event by event.
type flying struct {
	*View
	publishing int
	held       map[int]bool  // deliveries
	ofLease    map[int][]int // of them, and of those that were, in their order
}

func newFlying(v *View) *flying {
	return &flying{View: v, held: map[int]bool{}, ofLease: map[int][]int{}}
}

func (y *flying) n() int { return y.publishing + len(y.held) }

func (y *flying) see(e *Event) {
	switch {
	case e.Kind == Publish && e.Phase == Invoke:
		y.publishing++
	case e.Kind == Publish:
		y.publishing--
	case e.Kind == Deliver:
		y.held[e.Delivery] = true
		y.ofLease[e.Lease] = append(y.ofLease[e.Lease], e.Delivery)
	case e.Kind == Lost:
		y.settle(e.Lease, func(int) bool { return true })
	case e.Delivery < 1 || e.Delivery > len(y.Deliveries) || e.Phase == Invoke:
	case e.Kind == Commit: // done with all before it, too: one assignment's deliveries share a lease
		y.settle(y.Deliveries[e.Delivery-1].Lease, func(k int) bool { return k <= e.Delivery })
	default:
		delete(y.held, e.Delivery)
	}
}

// settle takes the first deliveries of a lease out, as long as done says so.
func (y *flying) settle(lease int, done func(k int) bool) {
	of := y.ofLease[lease]
	for len(of) > 0 && done(of[0]) {
		delete(y.held, of[0])
		of = of[1:]
	}
	y.ofLease[lease] = of
}

// checkHeldAtCuts looks at what consumers held when something was cut, and did
// not settle: it has to come again.
func checkHeldAtCuts(v *View, f *Finding) {
	checkCuts(v, f)
	if v.Scenario != stormName {
		return
	}
	flying := newFlying(v)
	atCut := map[int]bool{}
	for i := range v.Events {
		flying.see(&v.Events[i])
		if v.Events[i].Kind == Cut {
			for k := range flying.held {
				atCut[k] = true
			}
		}
	}
	f.count("in hand at a cut", len(atCut))
	groups := v.groups()
	for k := range atCut {
		d := &v.Deliveries[k-1]
		if d.Event < 0 || d.Message == 0 || d.Tried(Ack) != nil {
			continue
		}
		for _, g := range groups {
			if v.expects(g, d.Message-1) && !v.doneFor(g, d.Message-1) && v.lastDelivery(g, d.Message-1) <= d.Event {
				f.violate([]int{d.Event}, "message %s was held when a connection was cut, was not acknowledged, and did not come again", v.name(d.Message-1))
			}
		}
	}
}
