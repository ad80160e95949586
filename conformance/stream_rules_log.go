package conformance

// The anomalies of a log, after Jepsen's kafka workload: S01 to S05 and S07.

// checkLogAgreement finds inconsistent offsets: one position that had two
// values.
func checkLogAgreement(v *View, f *Finding) {
	for _, log := range v.streams().logs {
		for i := range log.records {
			ds := log.records[i].deliveries
			first := &v.Deliveries[ds[0]]
			sessions := 1
			for _, n := range ds[1:] {
				d := &v.Deliveries[n]
				if d.Session != first.Session {
					sessions = 2
				}
				a, b := &v.Events[first.Event], &v.Events[d.Event]
				if a.Message != b.Message || a.ID != b.ID {
					f.violate([]int{first.Event, d.Event}, "partition %s has two values at offset %s: %s and %s",
						log.partition, log.records[i].offset, v.valueOf(first), v.valueOf(d))
					break
				}
			}
			f.count("positions", 1)
			if sessions > 1 {
				f.count("read by two", 1)
			}
		}
	}
}

// valueOf returns what a delivery delivered, for texts.
func (v *View) valueOf(d *Delivery) string {
	if d.Message > 0 {
		return v.name(d.Message - 1)
	}
	return "id " + v.Events[d.Event].ID
}

// checkUniquePosition finds duplicates: one value at two positions of a
// channel. What the suite itself published twice may be there twice.
func checkUniquePosition(v *View, f *Finding) {
	sv := v.streams()
	for n, ds := range v.OfMessage {
		if len(v.Publications[n]) != 1 {
			continue
		}
		first := -1
		for _, k := range ds {
			switch t := sv.of[k]; {
			case t == nil:
			case first < 0:
				first = k
				f.count("positions", 1)
			case t.log != sv.of[first].log || sv.at[k] != sv.at[first]:
				a, b := v.Deliveries[first].Event, v.Deliveries[k].Event
				f.violate([]int{v.Publications[n][0].Invoke, a, b}, "message %s, which was published once, is at offset %s of partition %s and at offset %s of partition %s",
					v.name(n), v.Events[a].Offset, v.Events[a].Partition, v.Events[b].Offset, v.Events[b].Partition)
				first = k
			}
		}
	}
}

// checkMonotonicRead finds positions that do not increase in one tenure,
// without a Release that may have set it back.
func checkMonotonicRead(v *View, f *Finding) {
	sv := v.streams()
	for _, t := range sv.tenures {
		for i, n := range t.deliveries[1:] {
			last := t.deliveries[i]
			f.count("pairs", 1)
			if sv.at[n] > sv.at[last] {
				continue
			}
			if t.setBackBetween(v, last, n) {
				f.count("set back", 1)
				continue
			}
			a, b := v.Deliveries[last].Event, v.Deliveries[n].Event
			f.violate([]int{a, b}, "partition %s went from offset %s to %s in one session and one lease, with no Release between",
				t.log.partition, v.Events[a].Offset, v.Events[b].Offset)
		}
	}
}

// setBackBetween says whether a Release may have taken effect between two
// deliveries that followed one another: what counts is when their Receives may
// have looked.
func (t *tenure) setBackBetween(v *View, last, next int) bool {
	from, to := v.Deliveries[last].Receive, v.Deliveries[next].Event
	for i := len(t.setBacks) - 1; i >= 0; i-- {
		b := &t.setBacks[i]
		if b.invoke < to && b.outcome > from {
			return true
		}
		if b.outcome < from {
			return false // earlier ones ended before, too: a stream's releases are few and follow one another
		}
	}
	return false
}

// checkNoSkip finds deliveries of one tenure that are not neighbours in the
// version order, unless what lies between was trimmed and trimmed=skip chose
// to jump.
func checkNoSkip(v *View, f *Finding) {
	sv := v.streams()
	for _, t := range sv.tenures {
		for i, n := range t.deliveries[1:] {
			last := t.deliveries[i]
			from, to := sv.at[last]+1, sv.at[n]
			if to < from {
				continue // S03's and S18's
			}
			f.count("pairs", 1)
			if to == from {
				continue
			}
			a, b := v.Deliveries[last].Event, v.Deliveries[n].Event
			if v.Sessions[t.session-1].Skip && t.log.trimmedTo(from, to, b) {
				f.count("jumps", 1)
				continue
			}
			f.violate([]int{a, b}, "partition %s went from offset %s to %s and skipped %d that others were delivered, the first at %s",
				t.log.partition, v.Events[a].Offset, v.Events[b].Offset, to-from, t.log.records[from].offset)
		}
	}
	checkTrimmed(v, f)
}

// checkTrimmed judges ErrTrimmed: it needs a reason.
func checkTrimmed(v *View, f *Finding) {
	trimmed := false
	for i := range v.Events {
		e := &v.Events[i]
		switch {
		case e.Kind == Fault && e.Phase == Invoke && e.Text == faultTrim:
			trimmed = true
		case e.Kind == Receive && e.Code == Trimmed:
			f.count("trimmed", 1)
			if !trimmed {
				f.violate([]int{i}, "Receive was ErrTrimmed, and nothing was trimmed")
			} else if v.Sessions[e.Session-1].Skip {
				f.violate([]int{i}, "Receive was ErrTrimmed with trimmed=skip")
			}
		}
	}
}

// checkCompletePrefix finds lost writes, which lie at or below what a group
// was delivered and which it never got, and unseen ones, which nobody got
// although the scenario drained everything.
func checkCompletePrefix(v *View, f *Finding) {
	sv := v.streams()
	for _, c := range sv.cursors {
		low, high := len(c.log.records), -1
		got := make([]bool, len(c.log.records))
		for _, t := range c.tenures {
			for _, n := range t.deliveries {
				got[sv.at[n]] = true
				low, high = min(low, sv.at[n]), max(high, sv.at[n])
			}
		}
		for i := low; i <= high; i++ {
			f.count("below highest", 1)
			if got[i] || c.log.trimmedTo(i, i+1, len(v.Events)) {
				continue
			}
			d := &v.Deliveries[c.log.records[i].deliveries[0]]
			f.violate([]int{d.Event}, "%s: message %s at offset %s was never delivered, and later ones were", c, v.valueOf(d), c.log.records[i].offset)
		}
	}
	v.checkUnseen(f)
	v.countShared(f)
}

// checkUnseen finds what was acknowledged and that a group never got.
func (v *View) checkUnseen(f *Finding) {
	if v.Facts[factDrained] == 0 {
		f.unsure("%s was not drained", v.Scenario)
		return
	}
	trims := len(v.streams().trimmedMessages())
	for _, g := range v.groups() {
		if g.role != RoleStream || g.start != "" && g.start != "earliest" && g.start != "latest" {
			continue
		}
		for n := range v.Messages {
			acked := v.acknowledged(n)
			if acked < 0 || !v.expects(g, n) {
				continue
			}
			f.count("acknowledged", 1)
			if v.lastDelivery(g, n) < 0 && trims == 0 {
				f.violate([]int{acked}, "message %s was acknowledged and never delivered to group %q", v.name(n), g.group)
			}
		}
	}
}

// factDrained says that the scenario waited until everything that was
// acknowledged had been delivered, or nothing more came.
const factDrained = "drained"

// trimmedMessages returns the trims: what they removed before anybody read it
// has no place that is known.
func (sv *streamView) trimmedMessages() (all []trim) {
	for _, log := range sv.logs {
		all = append(all, log.trims...)
	}
	return all
}

// countShared counts what was delivered while at least two members of its
// group held something, where the group had two members that each got 30 % or
// more.
func (v *View) countShared(f *Finding) {
	type share struct {
		total, shared int
		each          map[int]int // deliveries by session
		holds         map[int]int // tenures with something in hand, by session
	}
	shares := map[[2]string]*share{}
	sv := v.streams()
	delivered, committed := map[*tenure]int{}, map[*tenure]int{}
	holding := func(t *tenure) bool { return delivered[t] > committed[t] }
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
		before := holding(t)
		if e.Kind == Deliver {
			delivered[t] = sv.at[e.Delivery-1] + 1
		} else {
			committed[t] = max(committed[t], sv.at[e.Delivery-1]+1)
		}
		switch after := holding(t); {
		case after && !before:
			s.holds[t.session]++
		case before && !after:
			if s.holds[t.session]--; s.holds[t.session] == 0 {
				delete(s.holds, t.session)
			}
		}
		if e.Kind == Deliver {
			s.total++
			s.each[t.session]++
			if len(s.holds) >= 2 {
				s.shared++
			}
		}
	}
	for _, s := range shares {
		fair := 0
		for _, n := range s.each {
			if n*10 >= s.total*3 {
				fair++
			}
		}
		if fair >= 2 {
			f.count("shared", s.shared)
		}
	}
}

// checkKeyAffinity finds keys that are in two partitions, where nothing was
// added or split, and children that were begun before their parents' end.
func checkKeyAffinity(v *View, f *Finding) {
	sv := v.streams()
	added, split := v.reshapes()
	ends := sv.drainEnds(v)
	type kept struct {
		channel, key string
		producer     int // 0 where a key has one partition for all of them
	}
	type move struct{ from, to *partitionLog }
	last, been, judged := map[kept]int{}, map[kept]map[*partitionLog]bool{}, map[move]bool{}
	for n, ds := range v.OfMessage { // in the order in which they were made
		m := &v.Messages[n]
		if m.Key == "" || len(ds) == 0 || sv.of[ds[0]] == nil {
			continue
		}
		f.count("keyed", 1)
		key := kept{channel: m.Channel, key: m.Key}
		if added || split {
			key.producer = m.Producer
		}
		log := sv.of[ds[0]].log
		prev, known := last[key]
		last[key] = n
		if !known {
			been[key] = map[*partitionLog]bool{log: true}
			continue
		}
		was := sv.of[v.OfMessage[prev][0]].log
		if was == log {
			continue
		}
		events := []int{v.firstDelivery(prev), v.firstDelivery(n)}
		switch {
		case !added && !split:
			f.violate(events, "key %s is in partition %s and in partition %s, and none was added or split", key.key, was.partition, log.partition)
		case added:
		case been[key][log] && len(v.Publications[n]) == 1:
			f.violate(events, "key %s went back from partition %s to %s", key.key, was.partition, log.partition)
		default:
			f.count("moved keys", 1)
			if !judged[move{was, log}] {
				judged[move{was, log}] = true
				v.checkParentFirst(f, ends, was, log)
			}
		}
		been[key][log] = true
	}
}

// reshapes says which of its partitions changed in a history.
func (v *View) reshapes() (added, split bool) {
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Fault && e.Phase == Invoke {
			added, split = added || e.Text == faultAdd, split || e.Text == faultSplit
		}
	}
	return added, split
}

func (v *View) firstDelivery(n int) int { return v.Deliveries[v.OfMessage[n][0]].Event }

// drainEnds returns, by log and reader, the event before which the log was not
// drained: for a group the first Commit that was tried at or beyond its last
// record, for a reader alone the delivery of that.
func (sv *streamView) drainEnds(v *View) map[*partitionLog]map[any]int {
	ends := map[*partitionLog]map[any]int{}
	for _, log := range sv.logs {
		ends[log] = map[any]int{}
	}
	for _, c := range sv.cursors {
		for _, k := range c.commits {
			if _, ok := ends[c.log][c.key.group]; !ok && k.at == len(c.log.records)-1 {
				ends[c.log][c.key.group] = k.Invoke
			}
		}
	}
	for _, t := range sv.alone {
		for _, n := range t.deliveries {
			if _, ok := ends[t.log][t.session]; !ok && sv.at[n] == len(t.log.records)-1 {
				ends[t.log][t.session] = v.Deliveries[n].Event
			}
		}
	}
	return ends
}

// checkParentFirst judges all who read both partitions.
func (v *View) checkParentFirst(f *Finding, ends map[*partitionLog]map[any]int, parent, child *partitionLog) {
	sv := v.streams()
	judge := func(who any, name string, t *tenure) {
		first := t.first(v)
		end, drained := ends[parent][who]
		if !drained {
			end = first
		}
		if !drained || first < end {
			f.violate([]int{first, end}, "%s was delivered from partition %s before it had drained %s, from which that was split", name, child.partition, parent.partition)
			return
		}
		f.count("drained parents", 1)
	}
	for _, c := range sv.cursors {
		if c.log == child {
			judge(c.key.group, "group "+c.key.group[1], c.tenures[0])
		}
	}
	for _, t := range sv.alone {
		// One that names its partition reads nothing else.
		if t.log == child && v.Sessions[t.session-1].Only == "" && v.Sessions[t.session-1].End == "" {
			judge(t.session, "a reader", t)
		}
	}
}
