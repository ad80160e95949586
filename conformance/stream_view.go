package conformance

import (
	"cmp"
	"slices"

	"github.com/fa5182d2/messaging"
)

// streamView is a history joined by partitions and cursors: what the rules of
// streams look at. It is made once for a View.
type streamView struct {
	logs      []*partitionLog // in the order in which they were first delivered from
	cursors   []*cursorLog    // of groups, likewise
	alone     []*tenure       // of readers without a group
	tenures   []*tenure       // all
	bySession map[int][]*tenure
	of        []*tenure // by delivery: whose it was; nil for a queue's
	at        []int     // by delivery: the index of its record in its log
	moments   map[int]*moments
	leases    map[int]*leaseEnd
}

// place names a partition.
type place struct{ channel, partition string }

// partitionLog is the version order of a partition: its positions as far as
// anybody has seen them, in the broker's order. Offsets may have gaps, so that
// rules compare indices in records.
type partitionLog struct {
	place
	records []logRecord
	trims   []trim
}

// logRecord is one position and who was delivered what was there.
type logRecord struct {
	offset     messaging.Offset
	deliveries []int // places in View.Deliveries
}

// trim is a removal of what lies before an offset.
type trim struct {
	event  int // its invoke
	before messaging.Offset
}

// cursorLog is what a group did in a partition.
type cursorLog struct {
	key     cursorKey
	log     *partitionLog
	tenures []*tenure     // in the order of their first deliveries
	commits []*checkpoint // in the order of their invokes
}

// tenure is one hold of one session on one partition, from the first delivery
// of its lease on.
type tenure struct {
	session, lease int
	log            *partitionLog
	cursor         *cursorLog // nil for a reader without a group
	deliveries     []int      // in their order
	commits        []*checkpoint
	setBacks       []setBack // in the order of their invokes
}

// first returns the event of the first delivery.
func (t *tenure) first(v *View) int { return v.Deliveries[t.deliveries[0]].Event }

// checkpoint is one place of a Commit.
type checkpoint struct {
	*Settle
	delivery int
	at       int // index in the log
	tenure   *tenure
}

// setBack is what one Release did to one partition.
type setBack struct {
	call            int
	invoke, outcome int // events; outcome is past the end for a call that never ended
	at              int // the least index that was given
	phase           Phase
}

// leaseEnd is when a lease was seen to end; -1 is never.
type leaseEnd struct{ ending, lost int }

// moments are the events that change how a session is.
type moments struct {
	opened, closed, crashed int   // events; -1 is never
	eof, stuck              int   // events of Receives: io.EOF, and the last one that waited long, in vain
	freezes, thaws          []int // events
}

// streams returns the view's stream side.
func (v *View) streams() *streamView {
	v.streamOnce.Do(func() { v.stream = newStreamView(v) })
	return v.stream
}

func newStreamView(v *View) *streamView {
	sv := &streamView{
		of: make([]*tenure, len(v.Deliveries)), at: make([]int, len(v.Deliveries)),
		bySession: map[int][]*tenure{}, moments: map[int]*moments{}, leases: map[int]*leaseEnd{},
	}
	for n := range v.Sessions {
		sv.moments[n+1] = &moments{opened: -1, closed: -1, crashed: -1, eof: -1, stuck: -1}
	}
	logs := map[place]*partitionLog{}
	sv.order(v, logs)
	sv.hold(v, logs)
	sv.settle(v)
	for i := range v.Events {
		sv.note(v, i, logs)
	}
	return sv
}

// order makes the version order of each partition.
func (sv *streamView) order(v *View, logs map[place]*partitionLog) {
	byOffset := map[*partitionLog]map[messaging.Offset][]int{}
	for n := range v.Deliveries {
		d := &v.Deliveries[n]
		if d.Event < 0 || v.Events[d.Event].Partition == "" {
			continue
		}
		e := &v.Events[d.Event]
		key := place{v.Sessions[d.Session-1].Channel, e.Partition}
		log := logs[key]
		if log == nil {
			log = &partitionLog{place: key}
			logs[key], byOffset[log] = log, map[messaging.Offset][]int{}
			sv.logs = append(sv.logs, log)
		}
		at := messaging.Offset(e.Offset)
		byOffset[log][at] = append(byOffset[log][at], n)
	}
	for _, log := range sv.logs {
		for offset, ds := range byOffset[log] {
			log.records = append(log.records, logRecord{offset, ds})
		}
		slices.SortFunc(log.records, func(a, b logRecord) int { return a.offset.Compare(b.offset) })
		for i := range log.records {
			for _, n := range log.records[i].deliveries {
				sv.at[n] = i
			}
		}
	}
}

// hold joins the deliveries of each lease.
func (sv *streamView) hold(v *View, logs map[place]*partitionLog) {
	type hold struct {
		session, lease int
		partition      string
	}
	tenures, cursors := map[hold]*tenure{}, map[cursorKey]*cursorLog{}
	for n := range v.Deliveries { // by their numbers, which is the order of their events
		d := &v.Deliveries[n]
		if d.Event < 0 || v.Events[d.Event].Partition == "" {
			continue
		}
		partition, s := v.Events[d.Event].Partition, &v.Sessions[d.Session-1]
		key := hold{d.Session, d.Lease, partition}
		t := tenures[key]
		if t == nil {
			t = &tenure{session: d.Session, lease: d.Lease, log: logs[place{s.Channel, partition}]}
			tenures[key] = t
			sv.tenures = append(sv.tenures, t)
			sv.bySession[t.session] = append(sv.bySession[t.session], t)
			if s.Group == "" {
				sv.alone = append(sv.alone, t)
			} else {
				c := cursors[cursorKey{v.Group(d), partition}]
				if c == nil {
					c = &cursorLog{key: cursorKey{v.Group(d), partition}, log: t.log}
					cursors[c.key] = c
					sv.cursors = append(sv.cursors, c)
				}
				t.cursor = c
				c.tenures = append(c.tenures, t)
			}
		}
		t.deliveries = append(t.deliveries, n)
		sv.of[n] = t
	}
}

// settle joins commits and releases to their tenures.
func (sv *streamView) settle(v *View) {
	for n, t := range sv.of {
		if t == nil {
			continue
		}
		settles := v.Deliveries[n].Settles
		for i := range settles {
			switch s := &settles[i]; s.Kind {
			case Commit:
				t.commits = append(t.commits, &checkpoint{s, n, sv.at[n], t})
			case Release:
				t.release(v, s, sv.at[n])
			}
		}
	}
	for _, t := range sv.tenures {
		slices.SortFunc(t.commits, byInvoke)
		slices.SortFunc(t.setBacks, func(a, b setBack) int { return cmp.Compare(a.invoke, b.invoke) })
		t.mergeSetBacks()
		if t.cursor != nil {
			t.cursor.commits = append(t.cursor.commits, t.commits...)
		}
	}
	for _, c := range sv.cursors {
		slices.SortFunc(c.commits, byInvoke)
	}
}

func byInvoke(a, b *checkpoint) int { return cmp.Compare(a.Invoke, b.Invoke) }

func (t *tenure) release(v *View, s *Settle, at int) {
	b := setBack{call: v.Events[s.Invoke].Call, invoke: s.Invoke, outcome: s.Outcome, at: at, phase: s.Phase}
	if s.Outcome < 0 {
		b.outcome = len(v.Events)
	}
	t.setBacks = append(t.setBacks, b)
}

// mergeSetBacks joins the places of one call that had an effect.
func (t *tenure) mergeSetBacks() {
	var merged []setBack
	for _, b := range t.setBacks {
		if b.phase == Fail {
			continue
		}
		if n := len(merged) - 1; n >= 0 && merged[n].call == b.call {
			m := &merged[n]
			m.at, m.outcome = min(m.at, b.at), max(m.outcome, b.outcome)
			if b.phase == Info {
				m.phase = Info
			}
			continue
		}
		merged = append(merged, b)
	}
	t.setBacks = merged
}

// note joins what is neither a delivery nor a settle.
func (sv *streamView) note(v *View, i int, logs map[place]*partitionLog) {
	e := &v.Events[i]
	m := sv.moments[e.Session]
	switch {
	case (e.Kind == Ending || e.Kind == Lost) && e.Lease > 0:
		l := sv.leases[e.Lease]
		if l == nil {
			l = &leaseEnd{-1, -1}
			sv.leases[e.Lease] = l
		}
		if e.Kind == Ending && l.ending < 0 {
			l.ending = i
		} else if e.Kind == Lost && l.lost < 0 {
			l.lost = i
		}
	case e.Kind == Fault && e.Phase == Invoke && e.Text == faultTrim:
		for key, log := range logs {
			if key.partition == e.Partition {
				log.trims = append(log.trims, trim{i, messaging.Offset(e.Offset)})
			}
		}
	case m == nil:
	case e.Kind == Open && e.Phase == OK:
		m.opened = i
	case e.Kind == Close && e.Phase == Invoke && m.closed < 0:
		m.closed = i
	case e.Kind == Receive && e.Code == EOF && m.eof < 0:
		m.eof = i
	case e.Kind == Receive && e.Code == Deadline && e.At-v.Events[v.invokeOf(i)].At >= v.Timing.Operation:
		m.stuck = i
	case e.Kind == Crash:
		m.crashed = i
	case e.Kind == Freeze:
		m.freezes = append(m.freezes, i)
	case e.Kind == Thaw:
		m.thaws = append(m.thaws, i)
	}
}

// The texts of faults that change a channel, which rules look for. A scenario
// has one channel of which it does that.
const (
	faultTrim  = "trim"  // Partition, and Offset: what lies before it is removed
	faultAdd   = "add"   // Max partitions
	faultSplit = "split" // Partition
	faultChurn = "churn" // of members
)

// ended returns the event with which a session ended by itself or was killed,
// or the history's end.
func (sv *streamView) ended(v *View, session int) int {
	end := len(v.Events)
	m := sv.moments[session]
	for _, i := range []int{m.closed, m.crashed} {
		if i >= 0 {
			end = min(end, i)
		}
	}
	return end
}

// frozenBefore says whether a session had ever been a zombie before event i:
// what it then delivers may be what it had read ahead, and no longer its own.
func (sv *streamView) frozenBefore(session, i int) bool {
	m := sv.moments[session]
	return len(m.freezes) > 0 && m.freezes[0] < i
}

// trimmedTo says whether everything in [from, to) of a log had been removed,
// or was being removed, at event i.
func (l *partitionLog) trimmedTo(from, to, i int) bool {
	if from >= to {
		return true
	}
	for _, t := range l.trims {
		if t.event < i && l.records[to-1].offset.Compare(t.before) < 0 {
			return true
		}
	}
	return false
}

// String names the cursor in texts.
func (c *cursorLog) String() string {
	return "group " + c.key.group[1] + ", partition " + c.key.partition
}
