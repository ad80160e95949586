package conformance

import (
	"time"

	"github.com/fa5182d2/messaging"
)

// consumeOrderRules judge the order in which Consume handles and commits.
func consumeOrderRules() []*Rule {
	return []*Rule{
		{
			ID: "S06", Name: "SerialPerPartition", Flavour: ForStream,
			Sentence: "By default the handlers of one partition never overlap and run in the order of its positions, with retries in place.",
			Cells:    map[string]Evidence{"none": {"handled in order": 3500, "retried in place": 100}, "F10": {"handled in order": 300}},
			check:    func(v *View, f *Finding) { checkSerial(v, f, "Ordered", "handled in order") },
		},
		{
			ID: "S14", Name: "KeySerial", Flavour: ForBoth,
			Sentence: "OrderedByKey runs one handler of a key at a time, in order, also across back-off, and what failed waits for its back-off; an order that is stricter than claimed is ErrUnsupported.",
			Cells:    map[string]Evidence{"none": {"of one key, in order": 2300, "waited for their back-off": 300}, "F10": {"of one key, in order": 400}},
			check:    checkKeySerial,
		},
		{
			ID: "S08", Name: "ExclusiveOwner", Flavour: ForStream,
			Sentence: "Without faults the handlers of one partition never overlap in a group, where they are shorter than the bound of a hand-over.",
			Cells:    map[string]Evidence{"F10": {"handled, one owner": 2000, "moved": 10}},
			check:    checkOneOwnerHandles,
		},
		{
			ID: "S09", Name: "CheckpointSafe", Flavour: ForStream, Core: true,
			Sentence: "Consume commits no further than the unbroken row of handled records.",
			Cells:    map[string]Evidence{"none": {"commits": 300, "commits behind a later one that was done": 100}},
			check:    checkCommitsPrefix,
		},
		{
			ID: "S15", Name: "Poison", Flavour: ForStream, Core: true,
			Sentence: "After MaxAttempts in place a record is in the dead letters, which say why, how often and when, then its partition goes on; it is never skipped otherwise, and others never wait. Each failure is told to OnError.",
			Cells:    map[string]Evidence{"none": {"dead": 200, "went on": 100, "failures told": 300}},
			check:    checkPoison,
		},
		{
			ID: "S17", Name: "HandOver", Flavour: ForStream,
			Sentence: "When a partition moves in order, nothing above the highest that was started begins, and without faults no handler starts twice.",
			Cells:    map[string]Evidence{"F10": {"started once": 2000, "ending": 10}},
			check:    checkHandOverStarts,
		},
	}
}

// lane is what handlers must not overlap in.
type lane struct {
	session        int
	partition, key string
}

// checkSerial judges sessions of one order: in a lane the next handler starts
// after the one before has ended, with the same record if that failed and a
// later one otherwise.
func checkSerial(v *View, f *Finding, order, evidence string) {
	last := map[lane]*handling{}
	hs := v.handlings()
	buried := v.buriedBy()
	for i := range hs {
		h := &hs[i]
		e := v.delivered(h)
		l := lane{session: h.number, partition: e.Partition}
		if h.session.Consume.Order != order || h.session.Role != RoleStream {
			continue
		}
		if order == "OrderedByKey" {
			if h.d.Message < 1 || v.Messages[h.d.Message-1].Key == "" {
				continue
			}
			l.key = v.Messages[h.d.Message-1].Key
		}
		before := last[l]
		last[l] = h
		f.count(evidence, 1)
		if before == nil {
			continue
		}
		if before.end < 0 || before.end > h.start {
			f.violate([]int{before.start, h.start, before.end}, "two handlers of %s run at once", l.describe())
			continue
		}
		checkNext(v, f, l, before, h, buried)
	}
}

// checkNext judges which record follows which in a lane.
func checkNext(v *View, f *Finding, l lane, before, h *handling, buried map[[2]int]int) {
	a, b := v.delivered(before), v.delivered(h)
	if a.Lease != b.Lease || before.d.Tried(Release) != nil {
		return // another assignment begins where the group's cursor is
	}
	order := messaging.Offset(b.Offset).Compare(messaging.Offset(a.Offset))
	dead, isDead := buried[[2]int{before.number, before.d.Message}]
	switch {
	case v.failed(before) && isDead && dead < h.start:
		if order <= 0 {
			f.violate([]int{before.start, before.end, dead, h.start}, "%s goes back after a dead letter", l.describe())
		}
	case v.failed(before) && order != 0:
		f.violate([]int{before.start, before.end, h.start}, "%s goes on past a record that failed", l.describe())
	case v.failed(before):
		f.count("retried in place", 1)
	case v.succeeded(before) && order <= 0:
		f.violate([]int{before.start, before.end, h.start}, "%s goes back, or handles a record again", l.describe())
	}
}

func (l lane) describe() string {
	if l.key == "" {
		return "partition " + l.partition
	}
	return "key " + l.key + " of partition " + l.partition
}

// buriedBy returns the event in which the dead letter of a session's message
// was taken.
func (v *View) buriedBy() map[[2]int]int {
	m := map[[2]int]int{}
	for _, b := range v.burials() {
		if b.ok {
			m[[2]int{b.session, b.message}] = b.outcome
		}
	}
	return m
}

// checkKeySerial judges both flavours: on a queue a key has one handler at a
// time in the whole group.
func checkKeySerial(v *View, f *Finding) {
	checkSerial(v, f, "OrderedByKey", "of one key, in order")
	checkBackoff(v, f)
	type groupKey struct {
		group [2]string
		key   string
	}
	last := map[groupKey]*handling{}
	hs := v.handlings()
	for i := range hs {
		h := &hs[i]
		if h.session.Role != RoleQueue || h.session.Consume.Once || h.session.Consume.Order != "OrderedByKey" || h.d.Message < 1 || v.Messages[h.d.Message-1].Key == "" {
			continue
		}
		f.count("of one key, in order", 1)
		k := groupKey{v.groupOf(h), v.Messages[h.d.Message-1].Key}
		if before := last[k]; before != nil && (before.end < 0 || before.end > h.start) {
			f.violate([]int{before.start, h.start, before.end}, "two handlers of key %s run at once", k.key)
		}
		last[k] = h
	}
	if n, ok := v.Facts["stricter order"]; ok {
		f.count("stricter refused", int(n))
		if n == 0 {
			f.violate(nil, "an order that is stricter than the subscriber claims was not refused with ErrUnsupported")
		}
	}
}

// checkBackoff looks for what failed and has not waited for as long as it has
// to: on a stream until the next handler of the delivery, on a queue by the delay
// of its Nack, which the queue has to keep by Q04.
func checkBackoff(v *View, f *Finding) {
	next := map[*Delivery]*handling{}
	hs := v.handlings()
	for i := len(hs) - 1; i >= 0; i-- {
		h := &hs[i]
		again := next[h.d]
		next[h.d] = h
		if h.d.Message < 1 || h.session.Consume.Once || !v.failed(h) || v.Events[h.end].Code == Rejected {
			continue
		}
		least, waited, until := h.session.Consume.Backoff, time.Duration(0), -1
		if s := h.d.Tried(Nack); h.session.Role == RoleQueue && s != nil {
			least, until = min(least, h.session.MaxDelay), s.Invoke
			waited = v.Events[until].Delay
		} else if h.session.Role == RoleStream && again != nil {
			until = again.start
		} else {
			continue
		}
		f.count("waited for their back-off", 1)
		if waited += v.Events[until].At - v.Events[h.end].At; waited < least {
			f.violate([]int{h.start, h.end, until}, "message %s failed, and comes again after %v, with a back-off of %v or more", v.name(h.d.Message-1), waited, least)
		}
	}
}

// checkOneOwnerHandles compares the handlers of a partition over all members.
func checkOneOwnerHandles(v *View, f *Finding) {
	type owned struct {
		group     [2]string
		partition string
	}
	running := map[owned]*handling{} // the one that ends last so far
	hs := v.handlings()
	for i := range hs {
		h := &hs[i]
		if h.session.Role != RoleStream || h.session.Group == "" {
			continue
		}
		f.count("handled, one owner", 1)
		k := owned{v.groupOf(h), v.delivered(h).Partition}
		before := running[k]
		if before != nil && before.number != h.number {
			f.count("moved", 1)
			if before.end < 0 || before.end > h.start {
				f.violate([]int{before.start, h.start, before.end}, "handlers of partition %s run at two members at once", k.partition)
			}
		}
		if before == nil || before.end >= 0 && (h.end < 0 || h.end > before.end) {
			running[k] = h
		}
	}
}

// checkHandOverStarts judges the starts around the end of an assignment.
func checkHandOverStarts(v *View, f *Finding) {
	first := map[copyOf]int{}
	top := map[int]messaging.Offset{} // by lease: the highest started before it was Ending
	hs := v.handlings()
	for i := range hs {
		h := &hs[i]
		if h.session.Role != RoleStream || h.d.Message < 1 {
			continue
		}
		f.count("started once", 1)
		key := copyOf{v.groupOf(h), h.d.Message}
		if earlier, ok := first[key]; ok {
			f.violate([]int{earlier, h.start}, "message %s was started twice, although everything moved in order", v.name(h.d.Message-1))
		}
		first[key] = h.start
		offset := messaging.Offset(v.delivered(h).Offset)
		ending := h.d.Ending
		switch {
		case ending < 0 || !v.after(h.start, ending):
			if high, ok := top[h.d.Lease]; !ok || high.Compare(offset) < 0 {
				top[h.d.Lease] = offset
			}
		case top[h.d.Lease].Compare(offset) < 0:
			f.violate([]int{h.d.Event, ending, h.start}, "a record above the highest that was started began after its lease was Ending")
		}
	}
	for i := range v.Events {
		if v.Events[i].Kind == Ending {
			f.count("ending", 1)
		}
	}
}
