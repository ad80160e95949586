package conformance

// The anomalies of a log, after Jepsen's kafka workload: S01 to S05.

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
			} else if e.Session > 0 && v.Sessions[e.Session-1].Skip {
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
