package conformance

import (
	"time"

	"github.com/fa5182d2/messaging"
)

// The rules of where reading begins and ends: S11 and S12.

// checkReplay judges sessions that read alone, and that they touch no group.
func checkReplay(v *View, f *Finding) {
	for n := range v.Sessions {
		switch s := &v.Sessions[n]; {
		case s.Role != RoleStream || s.Group != "":
		case s.End != "":
			v.checkBounded(f, n+1)
		default:
			v.checkUnbounded(f, n+1)
		}
	}
	for _, r := range v.resumes() {
		if r.place == 0 || !v.readAlone(r) {
			continue
		}
		f.count("resumes", 1)
		if !r.explained(v) {
			f.violate(r.events(), "%s: resumed at offset %s, when %s had been committed, after somebody read alone",
				r.cursor, r.cursor.log.records[r.at].offset, r.committed())
		}
	}
}

// readAlone says whether somebody read the partition alone between the first
// deliveries of the hold before r and of r.
func (v *View) readAlone(r *resume) bool {
	before := r.cursor.tenures[r.place-1].first(v)
	for _, t := range v.streams().alone {
		if t.log == r.cursor.log && t.first(v) < r.event && v.Deliveries[t.deliveries[len(t.deliveries)-1]].Event > before {
			return true
		}
	}
	return false
}

// checkBounded judges one session with start= and end=: it got exactly what
// lies between, and then io.EOF.
func (v *View) checkBounded(f *Finding, session int) {
	sv := v.streams()
	s := &v.Sessions[session-1]
	m := sv.moments[session]
	if m.opened < 0 {
		return
	}
	eof, stuck := m.eof, m.stuck
	spans := sv.spans(v, session)
	for _, log := range sv.logs {
		span, reads := spans[log]
		if !reads {
			continue
		}
		f.count("replayed", max(0, span[1]-span[0]+1))
		v.checkSpan(f, s, log, span, eof, m.opened)
	}
	switch {
	case eof >= 0:
		f.count("ends", 1)
	case stuck >= 0:
		f.violate([]int{m.opened, stuck}, "a reader with end=%s was not told io.EOF", s.End)
	}
}

// spans returns the first and the last index that a session was delivered of
// each partition that it reads; of none of it the first lies behind the last.
func (sv *streamView) spans(v *View, session int) map[*partitionLog][2]int {
	s := &v.Sessions[session-1]
	got := map[*partitionLog][2]int{}
	for _, log := range sv.logs {
		if log.channel == s.Channel && (s.Only == "" || s.Only == log.partition) {
			got[log] = [2]int{len(log.records), -1}
		}
	}
	for _, t := range sv.bySession[session] {
		span := got[t.log]
		for _, n := range t.deliveries {
			span = [2]int{min(span[0], sv.at[n]), max(span[1], sv.at[n])}
		}
		got[t.log] = span
	}
	return got
}

// checkUnbounded judges one session that reads alone without end=: it waits in
// vain only when it was delivered everything, and where it starts at the
// latest, nothing older.
func (v *View) checkUnbounded(f *Finding, session int) {
	sv := v.streams()
	s, m := &v.Sessions[session-1], sv.moments[session]
	if m.opened < 0 {
		return
	}
	begins, opening := parseBound(s.Start), v.invokeOf(m.opened)
	spans := sv.spans(v, session)
	for _, log := range sv.logs {
		span, reads := spans[log]
		for i := range log.records {
			if !reads {
				break
			}
			r := &log.records[i]
			d := &v.Deliveries[r.deliveries[0]]
			inside := i >= span[0] && i <= span[1]
			if inside && begins.latest && d.Message > 0 && v.ackedBefore(d.Message-1, opening) && len(v.Publications[d.Message-1]) == 1 {
				f.violate([]int{opening, d.Event}, "a reader with start=latest was delivered offset %s of partition %s, which was published before", r.offset, log.partition)
			}
			if inside || m.stuck < 0 || d.Message == 0 || !v.ackedBefore(d.Message-1, v.invokeOf(m.stuck)) || log.trimmedTo(i, i+1, len(v.Events)) {
				continue
			}
			if begins.includes(r.offset, v.Events[d.Event].Published) || begins.latest && v.publishedAfter(d, m.opened) {
				f.violate([]int{m.opened, d.Event, v.invokeOf(m.stuck), m.stuck}, "a reader of partition %s waited in vain, and offset %s was there", log.partition, r.offset)
				break
			}
		}
	}
}

// checkSpan judges what a session with bounds was delivered of a partition,
// from index span[0] to span[1].
func (v *View) checkSpan(f *Finding, s *Session, log *partitionLog, span [2]int, eof, opened int) {
	begins, ends := s.bounds()
	if !ends.at.IsZero() {
		ends.from = v.firstFrom(log, ends.at)
	}
	for i := range log.records {
		r := &log.records[i]
		d := &v.Deliveries[r.deliveries[0]]
		published := v.Events[d.Event].Published
		trimmed := log.trimmedTo(i, i+1, len(v.Events))
		inside := i >= span[0] && i <= span[1]
		if inside && ends.before(r.offset, published, v.publishedAfter(d, opened)) {
			f.violate([]int{opened, d.Event}, "a reader with end=%s of partition %s was delivered offset %s, which is not before it", s.End, log.partition, r.offset)
		}
		if inside && begins.offset != "" && r.offset.Compare(begins.offset) < 0 {
			f.violate([]int{opened, d.Event}, "a reader with start=%s of partition %s was delivered offset %s, which is before it", s.Start, log.partition, r.offset)
		}
		if inside || trimmed || eof < 0 {
			continue
		}
		switch {
		case i < span[0] && begins.includes(r.offset, published) && !ends.excludes(v, log, i, opened):
			f.violate([]int{opened, d.Event, eof}, "a reader with start=%s and end=%s of partition %s was not delivered offset %s, which is not before it", s.Start, s.End, log.partition, r.offset)
			return
		case i > span[1] && begins.includes(r.offset, published) && !ends.excludes(v, log, i, opened):
			f.violate([]int{opened, d.Event, eof}, "a reader with start=%s and end=%s of partition %s was told io.EOF before offset %s", s.Start, s.End, log.partition, r.offset)
			return
		}
	}
}

// publishedAfter says whether the only attempts to publish what d delivered
// began after an event.
func (v *View) publishedAfter(d *Delivery, event int) bool {
	return d.Message > 0 && len(v.Publications[d.Message-1]) > 0 && v.Publications[d.Message-1][0].Invoke > event
}

// bound is start= or end= of a session.
type bound struct {
	offset messaging.Offset
	at     time.Time
	from   int // where end= is a time: the first index that it may exclude
	now    bool
	latest bool
}

// bounds returns a session's start= and end=.
func (s *Session) bounds() (begins, ends bound) {
	return parseBound(s.Start), parseBound(s.End)
}

func parseBound(text string) bound {
	switch text {
	case "", "earliest":
		return bound{}
	case "latest":
		return bound{latest: true}
	case "now":
		return bound{now: true}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return bound{at: at}
	}
	return bound{offset: messaging.Offset(text)}
}

// before says whether an end lies at or before a record: then that is not to
// be delivered.
func (b *bound) before(o messaging.Offset, published time.Time, later bool) bool {
	switch {
	case b.now:
		return later
	case b.offset != "":
		return o.Compare(b.offset) >= 0
	}
	return !b.at.IsZero() && !published.IsZero() && !published.Before(b.at)
}

// includes says whether a start certainly includes a record.
func (b *bound) includes(o messaging.Offset, published time.Time) bool {
	switch {
	case b.latest:
		return false
	case b.offset != "":
		return o.Compare(b.offset) >= 0
	case !b.at.IsZero():
		return !published.IsZero() && !published.Before(b.at)
	}
	return true
}

// excludes says whether an end may exclude record i: by time, also because one
// before it was published at or after the end.
func (b *bound) excludes(v *View, log *partitionLog, i, opened int) bool {
	r := &log.records[i]
	d := &v.Deliveries[r.deliveries[0]]
	switch {
	case b.now:
		// Only what was acknowledged before the open was called is certainly
		// before now.
		return d.Message == 0 || !v.ackedBefore(d.Message-1, v.invokeOf(opened))
	case b.offset != "":
		return r.offset.Compare(b.offset) >= 0
	}
	return !b.at.IsZero() && i >= b.from
}

// firstFrom returns the index of the first record that was published at a time
// or later, or at an unknown one.
func (v *View) firstFrom(log *partitionLog, at time.Time) int {
	for i := range log.records {
		if p := v.Events[v.Deliveries[log.records[i].deliveries[0]].Event].Published; p.IsZero() || !p.Before(at) {
			return i
		}
	}
	return len(log.records)
}

// ackedBefore says whether message n was acknowledged before an event.
func (v *View) ackedBefore(n, event int) bool {
	acked := v.acknowledged(n)
	return acked >= 0 && acked < event
}

// invokeOf returns the event that began the call of which i is an outcome.
func (v *View) invokeOf(i int) int {
	if c := v.Events[i].Call; c > 0 && c <= len(v.Invokes) && v.Invokes[c-1] >= 0 {
		return v.Invokes[c-1]
	}
	return i
}
