package conformance

import "sort"

// The rules of cursors: S09, S10, S16 and S18.

// resume is a tenure that continued where the group had come to, and what its
// first delivery may be.
type resume struct {
	cursor   *cursorLog
	t        *tenure
	place    int // of t in the cursor's tenures
	at       int // index of the first delivery
	event    int // of the first delivery
	done     int // the highest index whose Commit was nil before it; -1 is none
	doneBy   *checkpoint
	possible []*checkpoint // other Commits that may have been applied by then, above done
	beginsAt int           // where the group begins, if that is known; -1 is not
	unsteady bool          // its session had been frozen: it may not be where the group is
}

// resumes returns the tenures of groups, each with what had been committed
// before its first delivery.
func (v *View) resumes() (all []*resume) {
	sv := v.streams()
	for _, c := range sv.cursors {
		begins := -1
		if start := v.startOf(c.key.group); start == "" || start == "earliest" {
			begins = 0
		}
		for k, t := range c.tenures {
			r := &resume{cursor: c, t: t, place: k, at: sv.at[t.deliveries[0]], event: t.first(v), done: -1, beginsAt: begins}
			r.unsteady = sv.frozenBefore(t.session, r.event)
			all = append(all, r)
			if begins < 0 {
				begins = r.at // wherever that is, it stays
			}
		}
		c.committedBefore(all[len(all)-len(c.tenures):])
	}
	return all
}

// startOf returns start= of the first session of a group.
func (v *View) startOf(group [2]string) string {
	for i := range v.Sessions {
		if s := &v.Sessions[i]; s.Role == RoleStream && s.Channel == group[0] && s.Group == group[1] {
			return s.Start
		}
	}
	return ""
}

// committedBefore fills in what had been committed, and what may have been,
// before each of the resumes, which are in the order of their events.
func (c *cursorLog) committedBefore(resumes []*resume) {
	var open []*checkpoint // tried, not known to be applied, above done
	var done *checkpoint
	next := 0
	for _, r := range resumes {
		for ; next < len(c.commits) && c.commits[next].Invoke < r.event; next++ {
			open = append(open, c.commits[next])
		}
		rest := open[:0]
		for _, k := range open {
			if k.Phase == OK && k.Outcome < r.event && (done == nil || k.at > done.at) {
				done = k
			}
		}
		for _, k := range open {
			if k.Phase != Fail && (done == nil || k.at > done.at) {
				rest = append(rest, k)
			}
		}
		open = rest
		r.doneBy = done
		if done != nil {
			r.done = done.at
		}
		r.possible = append(r.possible, open...)
	}
}

// fits says whether the first delivery is the first record after a cursor at
// index c.
func (r *resume) fits(v *View, c int) bool {
	if r.at == c+1 {
		return true
	}
	return r.at > c+1 && v.Sessions[r.t.session-1].Skip && r.cursor.log.trimmedTo(c+1, r.at, r.event)
}

// explained says whether some cursor that the group may have had explains the
// first delivery.
func (r *resume) explained(v *View) bool {
	if r.done >= 0 && r.fits(v, r.done) || r.done < 0 && (r.beginsAt < 0 || r.fits(v, r.beginsAt-1)) {
		return true
	}
	for _, k := range r.possible {
		if r.fits(v, k.at) {
			return true
		}
	}
	return false
}

// events are what shows a resume.
func (r *resume) events() []int {
	events := []int{r.event}
	if r.doneBy != nil {
		events = append(events, r.doneBy.Invoke, r.doneBy.Outcome)
	}
	for i, k := range r.possible {
		if i < 3 {
			events = append(events, k.Invoke)
		}
	}
	return events
}

// committed returns the offset that was certainly committed, for texts.
func (r *resume) committed() string {
	if r.done < 0 {
		return "nothing"
	}
	return "offset " + string(r.cursor.log.records[r.done].offset)
}

// checkResumeBound compares where each tenure began with what had been
// committed.
func checkResumeBound(v *View, f *Finding) {
	for _, r := range v.resumes() {
		if r.place == 0 && r.done < 0 && len(r.possible) == 0 {
			continue // the group's begin is S12's
		}
		if r.unsteady {
			continue
		}
		f.count("resumes", 1)
		if len(r.possible) > 0 {
			f.count("uncertain resumes", 1)
		}
		if !r.explained(v) {
			f.violate(r.events(), "%s: resumed at offset %s, when %s had been committed", r.cursor, r.cursor.log.records[r.at].offset, r.committed())
		}
	}
	v.countCrashes(f)
}

// countCrashes counts crashes of stream members with three or more deliveries
// in hand.
func (v *View) countCrashes(f *Finding) {
	sv := v.streams()
	hand := map[int]int{}
	for _, t := range sv.tenures {
		m := sv.moments[t.session]
		if m.crashed < 0 || t.cursor == nil {
			continue
		}
		done := -1
		for _, k := range t.commits {
			done = max(done, k.at)
		}
		for _, n := range t.deliveries {
			if sv.at[n] > done {
				hand[t.session]++
			}
		}
	}
	for _, n := range hand {
		if n >= 3 {
			f.count("crashes", 1)
		}
	}
}

// checkCheckpointSafe finds cursors that moved back: behind an earlier resume,
// or behind a Commit that was nil, after one of a lower offset. And those that
// went further than anybody had asked for.
func checkCheckpointSafe(v *View, f *Finding) {
	resumes := v.resumes()
	for i, r := range resumes {
		if r.unsteady {
			continue
		}
		if lower := r.lowerCommit(); lower != nil {
			f.count("after a lower commit", 1)
			if r.at <= r.done {
				f.violate(append(r.events(), lower.Invoke), "%s: the cursor moved back: resumed at offset %s, when %s had been committed, and then %s again",
					r.cursor, r.cursor.log.records[r.at].offset, r.committed(), r.cursor.log.records[lower.at].offset)
			}
		}
		if r.place == 0 && r.done < 0 && len(r.possible) == 0 {
			continue // the group's begin is S12's
		}
		highest := max(r.done, r.beginsAt-1)
		for _, k := range r.possible {
			highest = max(highest, k.at)
		}
		if (r.done >= 0 || r.beginsAt >= 0) && r.at > highest+1 && !r.fits(v, highest) {
			f.violate(r.events(), "%s: the cursor went further than any Commit: resumed at offset %s, when %s had been committed",
				r.cursor, r.cursor.log.records[r.at].offset, r.committed())
		}
		if r.place == 0 {
			continue
		}
		f.count("resumes", 1)
		if last := resumes[i-1]; r.at < last.at && !last.unsteady {
			f.violate(append(r.events(), last.event), "%s: the cursor moved back: resumed at offset %s, and at %s before",
				r.cursor, r.cursor.log.records[r.at].offset, r.cursor.log.records[last.at].offset)
		}
	}
}

// lowerCommit returns a Commit at a lower offset that was tried after the
// highest one that was nil, and before r, or nil.
func (r *resume) lowerCommit() *checkpoint {
	if r.doneBy == nil {
		return nil
	}
	commits := r.cursor.commits // in the order of their invokes
	i := sort.Search(len(commits), func(i int) bool { return commits[i].Invoke > r.doneBy.Outcome })
	for ; i < len(commits) && commits[i].Invoke < r.event; i++ {
		k := commits[i]
		if k.at < r.done && k.Phase != Fail {
			return k
		}
	}
	return nil
}

// checkCommitFinal finds deliveries to a group at or below what it had
// committed.
func checkCommitFinal(v *View, f *Finding) {
	before := map[*cursorLog]string{} // the last offset that was committed
	for _, r := range v.resumes() {
		v.checkFinalWithin(f, r.t)
		v.checkFinalAfter(f, r)
		if r.done < 0 {
			continue
		}
		offset := r.committed()
		if last, ok := before[r.cursor]; ok && len(last) < len(offset) {
			f.count("across a digit", 1) // as text, 10 is before 9
		}
		before[r.cursor] = offset
	}
}

// checkFinalWithin judges a tenure by its own commits: a Receive that was
// called after one was nil returns nothing at or below it.
func (v *View) checkFinalWithin(f *Finding, t *tenure) {
	sv := v.streams()
	done, next := -1, 0
	var by *checkpoint
	// A tenure's commits end in the order in which they began, or are skipped
	// here until they have.
	for _, n := range t.deliveries {
		d := &v.Deliveries[n]
		for ; next < len(t.commits) && t.commits[next].Invoke < d.Receive; next++ {
			if k := t.commits[next]; k.Phase == OK && k.Outcome < d.Receive && k.at > done {
				done, by = k.at, k
			}
		}
		if by != nil && sv.at[n] <= done {
			f.violate([]int{by.Invoke, by.Outcome, d.Event}, "%s: offset %s was delivered again after a Commit of %s was nil",
				t.cursor, t.log.records[sv.at[n]].offset, t.log.records[done].offset)
		}
	}
}

// checkFinalAfter judges a tenure by the commits of earlier ones: those were
// applied before it began, and it begins where they are.
func (v *View) checkFinalAfter(f *Finding, r *resume) {
	if r.unsteady || r.doneBy == nil {
		return
	}
	records := r.cursor.log.records
	f.count("resumes", 1)
	f.count("committed before", r.done+1)
	sv := v.streams()
	for _, n := range r.t.deliveries {
		if at := sv.at[n]; at <= r.done {
			f.violate([]int{r.doneBy.Invoke, r.doneBy.Outcome, v.Deliveries[n].Event}, "%s: offset %s was delivered again, by another hold, after a Commit of %s was nil",
				r.cursor, records[at].offset, records[r.done].offset)
			return
		}
	}
}
