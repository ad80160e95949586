package conformance

// queueRules are Q01 to Q19, but those that judge Consume. The numbers are
// those of guarantees: 2,301 show a fault of 1 in 500 with 99 %, 3,500 where
// two consumers must both hold something.
func queueRules() []*Rule {
	return []*Rule{
		{
			ID: "Q01", Name: "AtLeastOnce", Flavour: ForQueue, Core: true, Timed: true,
			Sentence: "What was delivered and not acknowledged when its consumer died is delivered again, soon after the lease is over.",
			Cells:    map[string]Evidence{"F8": {"crashes": 90, "in hand": 2301}},
			check:    checkAtLeastOnce,
		},
		{
			ID: "Q03", Name: "AckFinal", Flavour: ForQueue,
			Sentence: "After Ack returned nil the message does not come again.",
			Cells: everywhere([]string{"none", "F3", "F8", "F9", "F10", "F11"},
				Evidence{"acknowledged, and watched for a lease": 2000}),
			check: checkAckFinal,
		},
		{
			ID: "Q04", Name: "NackRedelivers", Flavour: ForQueue, Core: true, Timed: true,
			Sentence: "A nacked message comes again, not before its delay and soon after it.",
			Cells:    map[string]Evidence{"F11": {"nacked": 2301, "nacked with a delay": 2301}},
			check:    checkNackRedelivers,
		},
		{
			ID: "Q05", Name: "LeaseExclusive", Flavour: ForQueue,
			Sentence: "While a delivery of a message is held, no other of it is made.",
			Cells: map[string]Evidence{
				"F11": {"shared": 3500}, "F8": {"delivered": 3500}, "F9": {"delivered": 3500}, "F10": {"delivered": 3500}, "F16": {"delivered": 3500},
			},
			check: checkLeaseExclusive,
		},
		{
			ID: "Q06", Name: "LeaseExpiry", Flavour: ForQueue, Timed: true,
			Sentence: "What a crashed holder, or one past hold=, had in hand is delivered again when the lease is over, and not before.",
			Cells: map[string]Evidence{
				"F8": {"in hand at a crash": 2000}, "F9": {"with a zombie": 2301, "held past its time": 2301}, "F16": {"held past its time": 2301},
			},
			check: checkLeaseExpiry,
		},
		{
			ID: "Q07", Name: "LeaseExtend", Flavour: ForQueue, Timed: true,
			Sentence: "While its subscriber lives, an unsettled delivery keeps its lease within hold=; past that it is lost, and its place in the window is free.",
			Cells: map[string]Evidence{
				"F11": {"kept for four leases": 2301}, "F9": {"held past hold": 2301}, "F16": {"kept for four leases": 2301, "held past hold": 2301},
			},
			check: checkLeaseExtend,
		},
		{
			ID: "Q08", Name: "StaleSettle", Flavour: ForQueue, Timed: true,
			Sentence: "Ack and Nack after a newer delivery of the message are ErrLost, and do nothing to that.",
			Cells:    map[string]Evidence{"F9": {"stale": 2301, "newer in hand": 1000}},
			check:    checkStaleSettle,
		},
		{
			ID: "Q09", Name: "SettleOnceIsolated", Flavour: ForQueue, Core: true,
			Sentence: "A delivery is settled once: a second settle is ErrLost, unless the first was uncertain; and a settle touches only its own deliveries.",
			Cells: map[string]Evidence{
				"F11": {"second settles": 300}, "F3": {"second settles": 100, "repeated": 100},
				"F8": {"left by a crash after the Ack of a later one": 1500},
			},
			check: checkSettleOnce,
		},
		{
			ID: "Q10", Name: "CompetingFanout", Flavour: ForQueue,
			Sentence: "Each message goes to exactly one consumer of a group while none fails it, and to all groups; groups do not influence each other.",
			Cells: map[string]Evidence{
				"none": {"shared": 3500, "groups": 2, "expected": 3500}, "F10": {"expected": 2301},
			},
			check: checkCompeting,
		},
		{
			ID: "Q11", Name: "NoStarvation", Flavour: ForQueue, Core: true, Timed: true,
			Sentence: "A message that is ready comes soon to a consumer that waits; one that fails for ever does not block others.",
			Cells: map[string]Evidence{
				"F11": {"ready": 2301, "rounds of failing messages": 600}, "none": {"ready": 3500}, "F3": {"ready": 2000}, "F8": {"ready": 2301},
				"F9": {"ready": 2301}, "F10": {"ready": 2301},
			},
			check: checkNoStarvation,
		},
		{
			ID: "Q12", Name: "AttemptTruth", Flavour: ForQueue,
			Sentence: "Attempt counts at least the deliveries before that ended in a nack, an expired lease or a crash, and no others where it is exact; what was delivered before is marked Redelivered.",
			Cells: map[string]Evidence{
				"F11": {"after a nack": 2301, "after a give-back": 2301}, "F8": {"after a crash": 2000}, "F9": {"after a lease was over": 2301},
				"F10": {"after a give-back": 2301}, "F3": {"after a nack": 300, "after a give-back": 100},
			},
			check: checkAttempts,
		},
		{
			ID: "Q15", Name: "SettledEmpty", Flavour: ForQueue,
			Sentence: "When everything is settled, a fresh consumer gets nothing.",
			Cells: everywhere([]string{"F3", "F8", "F9", "F10", "F11"}, Evidence{"settled": 2000, "probes": 1},
				"none", Evidence{"settled": 1000, "probes": 1}),
			check: checkDrained,
		},
		{
			ID: "Q16", Name: "GroupFIFO", Flavour: ForQueue,
			Sentence: "On a queue that promises it, messages of one key come in their order, and one at a time, whatever happens to them.",
			Cells: map[string]Evidence{
				"F11": {"ordered": 3500, "shared": 2301, "after a nack": 2301, "after a give-back": 1000}, "F8": {"ordered": 3500, "after a crash": 1000},
				"F10": {"ordered": 3500, "after a give-back": 1000},
			},
			check: checkGroupFIFO,
		},
		{
			ID: "Q17", Name: "Routing", Flavour: ForQueue,
			Sentence: "A group gets exactly the messages whose subject matches its pattern: * is one word, # zero or more, anywhere.",
			Cells:    map[string]Evidence{"none": {"expected": 2301, "not for the group": 2301}},
			check:    checkRouting,
		},
		{
			ID: "Q18", Name: "SettleBatch", Flavour: ForQueue, Core: true,
			Sentence: "A settle of several deliveries has an outcome for each, in its place, and their order does not matter.",
			Cells: map[string]Evidence{
				"F11": {"places": 2301, "calls with both outcomes": 300}, "F9": {"places": 2301, "calls with both outcomes": 30}, "F3": {"places": 100},
			},
			check: checkSettleBatch,
		},
		{
			ID: "Q19", Name: "GiveBack", Flavour: ForQueue, Core: true, Timed: true,
			Sentence: "After Release or Close returned nil, others get the unsettled within a quarter of the lease.",
			Cells:    map[string]Evidence{"F11": {"released": 2301}, "F10": {"in hand at a Close": 2000}},
			check:    checkGiveBack,
		},
	}
}

// everywhere returns cells that all need the same; more are pairs of a fault
// and what it needs instead.
func everywhere(faults []string, e Evidence, more ...any) map[string]Evidence {
	cells := map[string]Evidence{}
	for _, f := range faults {
		cells[f] = e
	}
	for i := 0; i+1 < len(more); i += 2 {
		cells[more[i].(string)] = more[i+1].(Evidence)
	}
	return cells
}
