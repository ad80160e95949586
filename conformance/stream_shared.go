package conformance

// share is how the deliveries to a group were spread over its members.
type share struct {
	total, shared int         // deliveries; those while two members held something
	each          map[int]int // deliveries by session
	holds         map[int]int // tenures with something in hand, by session
}

// countShared counts what was delivered while at least two members of its
// group held something, where the group had two members that each got 30 % or
// more.
func (v *View) countShared(f *Finding) {
	sv := v.streams()
	shares := map[[2]string]*share{}
	done := map[*tenure][2]int{} // behind the last delivery, and behind the last Commit
	for i := range v.Events {
		e := &v.Events[i]
		if e.Delivery < 1 || e.Delivery > len(v.Deliveries) || e.Kind != Deliver && (e.Kind != Commit || e.Phase != Invoke) {
			continue
		}
		t := sv.of[e.Delivery-1]
		if t == nil || t.cursor == nil {
			continue
		}
		s := shares[t.cursor.key.group]
		if s == nil {
			s = &share{each: map[int]int{}, holds: map[int]int{}}
			shares[t.cursor.key.group] = s
		}
		was := done[t]
		now := was
		if at := sv.at[e.Delivery-1] + 1; e.Kind == Deliver {
			now[0] = at
		} else {
			now[1] = max(now[1], at)
		}
		done[t] = now
		s.holding(t.session, was[0] > was[1], now[0] > now[1])
		if e.Kind == Deliver {
			s.deliver(t.session)
		}
	}
	for _, s := range shares {
		if s.fair() {
			f.count("shared", s.shared)
		}
	}
}

// holding notes whether a tenure of a session held something, and does.
func (s *share) holding(session int, before, after bool) {
	switch {
	case after && !before:
		s.holds[session]++
	case before && !after:
		if s.holds[session]--; s.holds[session] == 0 {
			delete(s.holds, session)
		}
	}
}

func (s *share) deliver(session int) {
	s.total++
	s.each[session]++
	if len(s.holds) >= 2 {
		s.shared++
	}
}

// fair says whether two members or more got 30 % each.
func (s *share) fair() bool {
	n := 0
	for _, each := range s.each {
		if each*10 >= s.total*3 {
			n++
		}
	}
	return n >= 2
}
