package conformance

// S07: where the messages of one key are.

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
