package conformance

import "github.com/fa5182d2/messaging"

// assigned names one assignment of a partition to a session.
type assigned struct {
	session, lease int
	partition      string
}

// prefix follows one assignment: what was delivered, in the order of
// positions, and up to where it is handled.
type prefix struct {
	deliveries []int // numbers
	offsets    []messaging.Offset
	handled    int // so many from the front
}

// prefixes follow all assignments that a Consume drives.
type prefixes struct {
	of    map[assigned]*prefix
	done  map[int]bool // deliveries that were handled or dead-lettered
	place map[int]int  // of a delivery in its prefix
}

// deliver adds a delivery. One that lies before others sets the prefix back:
// what was delivered from there on is void.
func (p *prefixes) deliver(e *Event) {
	x := p.of[assignedTo(e)]
	if x == nil {
		x = &prefix{}
		p.of[assignedTo(e)] = x
	}
	o := messaging.Offset(e.Offset)
	for n := len(x.offsets); n > 0 && x.offsets[n-1].Compare(o) >= 0; n-- {
		delete(p.place, x.deliveries[n-1])
		x.offsets, x.deliveries = x.offsets[:n-1], x.deliveries[:n-1]
	}
	x.handled = min(x.handled, len(x.offsets))
	p.place[e.Delivery] = len(x.offsets)
	x.offsets, x.deliveries = append(x.offsets, o), append(x.deliveries, e.Delivery)
}

func assignedTo(e *Event) assigned { return assigned{e.Session, e.Lease, e.Partition} }

// open returns the first delivery at or before d that is not handled, or 0.
func (p *prefixes) open(e *Event, d int) int {
	x := p.of[assignedTo(e)]
	place, ok := p.place[d]
	if x == nil || !ok {
		return 0 // set back: the commit is lost
	}
	for x.handled < len(x.deliveries) && p.done[x.deliveries[x.handled]] {
		x.handled++
	}
	if x.handled > place {
		return 0
	}
	return x.deliveries[x.handled]
}

// checkCommitsPrefix judges each Commit of a Consume at least once by what was
// handled when it was invoked.
func checkCommitsPrefix(v *View, f *Finding) {
	p := &prefixes{of: map[assigned]*prefix{}, done: map[int]bool{}, place: map[int]int{}}
	ofMessage := map[[2]int][]int{} // session and message to its deliveries
	overtaken := false
	for i := range v.Events {
		e := &v.Events[i]
		if e.Session < 1 || e.Session > len(v.Sessions) {
			continue
		}
		s := &v.Sessions[e.Session-1]
		if s.Role != RoleStream || s.Consume == nil || s.Consume.Once {
			continue
		}
		switch {
		case e.Kind == Deliver:
			p.deliver(e)
			ofMessage[[2]int{e.Session, e.Message}] = append(ofMessage[[2]int{e.Session, e.Message}], e.Delivery)
		case e.Kind == End && e.Phase == OK:
			p.done[e.Delivery] = true
			overtaken = overtaken || p.overtakes(v, e)
		case e.Kind == Dead && e.Phase == OK:
			for _, d := range ofMessage[[2]int{e.Session, e.Message}] {
				p.done[d] = true
			}
		case e.Kind == Commit && e.Phase == Invoke && e.Delivery > 0 && e.Delivery <= len(v.Deliveries) && v.Deliveries[e.Delivery-1].Event >= 0:
			f.count("commits", 1)
			if overtaken {
				f.count("commits behind a later one that was done", 1)
				overtaken = false
			}
			d := v.Events[v.Deliveries[e.Delivery-1].Event]
			if open := p.open(&d, e.Delivery); open > 0 {
				f.violate([]int{v.Deliveries[open-1].Event, i}, "a commit at offset %s of partition %s covers a record that was not handled", d.Offset, d.Partition)
			}
		}
	}
}

// overtakes says whether the record whose handler ended well lies above one
// that is not handled.
func (p *prefixes) overtakes(v *View, e *Event) bool {
	if e.Delivery < 1 || e.Delivery > len(v.Deliveries) || v.Deliveries[e.Delivery-1].Event < 0 {
		return false
	}
	x := p.of[assignedTo(&v.Events[v.Deliveries[e.Delivery-1].Event])]
	place, ok := p.place[e.Delivery]
	if x == nil || !ok {
		return false
	}
	for x.handled < len(x.deliveries) && p.done[x.deliveries[x.handled]] {
		x.handled++
	}
	return place > x.handled
}

// checkPoison counts the attempts in place before a stream's dead letter, and
// looks for what its partition does then.
func checkPoison(v *View, f *Finding) {
	checkTold(v, f, func(s *Session) bool { return s.Role == RoleStream })
	checkDeadLettersKeep(v, f)
	failures, rejected := map[copyOf][]int{}, map[copyOf]bool{}
	waiting := map[lane]int{} // the dead letter after which a partition has to go on
	for i := range v.Events {
		e := &v.Events[i]
		if e.Message < 1 || e.Session < 1 || e.Session > len(v.Sessions) {
			continue
		}
		s := &v.Sessions[e.Session-1]
		if s.Role != RoleStream || s.Consume == nil || !s.Consume.DeadLetter || s.Consume.Once {
			continue
		}
		key := copyOf{[2]string{s.Channel, s.Group}, e.Message}
		at := lane{session: e.Session, partition: e.Partition}
		switch {
		case e.Kind == Start:
			if _, ok := waiting[at]; ok {
				delete(waiting, at)
				f.count("went on", 1)
			}
			if n := len(failures[key]); s.Consume.MaxAttempts > 0 && n >= s.Consume.MaxAttempts {
				f.violate(append(failures[key], i), "message %s failed %d times in place and was tried once more, with MaxAttempts %d", v.name(e.Message-1), n, s.Consume.MaxAttempts)
			}
		case e.Kind == End && e.Code == Rejected:
			rejected[key] = true
		case e.Kind == End && e.Phase == Fail:
			failures[key] = append(failures[key], i)
		case e.Kind == Dead && e.Phase == OK:
			f.count("dead", 1)
			if n := len(failures[key]); !rejected[key] && n != s.Consume.MaxAttempts {
				f.violate(append(failures[key], i), "message %s was dead-lettered after %d failures, with MaxAttempts %d", v.name(e.Message-1), n, s.Consume.MaxAttempts)
			}
			for _, d := range v.OfMessage[e.Message-1] {
				if v.Deliveries[d].Session == e.Session {
					waiting[lane{session: e.Session, partition: v.Events[v.Deliveries[d].Event].Partition}] = i
				}
			}
		}
	}
	for key, ends := range failures {
		checkSkipped(v, f, key, ends, rejected[key])
	}
	for at, i := range waiting {
		if v.startedLater(at, i) {
			f.violate([]int{i}, "%s did not go on after a dead letter", at.describe())
		}
	}
}

// checkSkipped looks whether a commit covers a record that only failed.
func checkSkipped(v *View, f *Finding, key copyOf, ends []int, rejected bool) {
	for _, k := range v.OfMessage[key.message-1] {
		d := &v.Deliveries[k]
		if v.Group(d) != key.group {
			continue
		}
		for _, e := range d.Ends {
			if v.Events[e].Phase == OK {
				return
			}
		}
	}
	for _, k := range v.OfMessage[key.message-1] {
		d := &v.Deliveries[k]
		if v.Group(d) == key.group && v.coveredBy(d) && !v.wasBuried(d) {
			f.violate(append(ends, d.Event), "message %s only failed, is not in the dead letters, and was committed", v.name(key.message-1))
			return
		}
	}
}

// startedLater says whether a partition still had records to handle, at its
// member, when event i happened.
func (v *View) startedLater(at lane, i int) bool {
	for _, d := range v.OfSession[at.session-1] {
		if x := &v.Deliveries[d]; v.Events[x.Event].Partition == at.partition && x.Event > i && len(x.Starts) == 0 && x.Tried(Release) == nil && x.Lost < 0 {
			return true
		}
	}
	return false
}
