package conformance

// streamRules are S01 to S18, but those that judge Consume, and of S08, S09
// and S17 the backend's part.
func streamRules() []*Rule {
	return append(logRules(), cursorRules()...)
}

func logRules() []*Rule {
	return []*Rule{
		{
			ID: "S01", Name: "LogAgreement", Flavour: ForStream, Core: true,
			Sentence: "A position in a partition has one value, for every reader and for ever.",
			Cells: map[string]Evidence{
				"none": {"read by two": 3500}, "F3": {"read by two": 2000}, "F8": {"read by two": 2000},
				"F13": {"read by two": 2000}, "F16": {"read by two": 300}, faultRetention: {"read by two": 300},
			},
			check: checkLogAgreement,
		},
		{
			ID: "S02", Name: "UniquePosition", Flavour: ForStream,
			Sentence: "A message that was published once has one position.",
			Cells: map[string]Evidence{
				"none": {"positions": 3500}, "F3": {"positions": 2000}, "F13": {"positions": 2000},
			},
			check: checkUniquePosition,
		},
		{
			ID: "S03", Name: "MonotonicRead", Flavour: ForStream, Core: true,
			Sentence: "Positions strictly increase in a session and partition, unless it is opened anew with start=, set back by Release, or reassigned.",
			Cells: map[string]Evidence{
				"none": {"pairs": 3500}, "F3": {"pairs": 2000}, "F8": {"pairs": 1500}, "F9": {"pairs": 2000},
				"F10": {"pairs": 2000, "set back": 90}, "F13": {"pairs": 2000},
			},
			check: checkMonotonicRead,
		},
		{
			ID: "S04", Name: "NoSkip", Flavour: ForStream, Core: true,
			Sentence: "Consecutive deliveries of a partition are neighbours in it; what retention removed is ErrTrimmed, or the jump that trimmed=skip chose.",
			Cells: map[string]Evidence{
				"none": {"pairs": 3500}, "F3": {"pairs": 2000}, "F8": {"pairs": 1500}, "F9": {"pairs": 2000},
				"F10": {"pairs": 2000}, "F13": {"pairs": 2000}, faultRetention: {"pairs": 300, "trimmed": 3, "jumps": 3},
			},
			check: checkNoSkip,
		},
		{
			ID: "S05", Name: "CompletePrefix", Flavour: ForStream, Core: true,
			Sentence: "Everything at or below the highest position that a group was delivered is delivered to it, and in the end everything that was acknowledged.",
			Cells: map[string]Evidence{
				"none": {"acknowledged": 3500, "shared": 3500}, "F3": {"acknowledged": 2000}, "F8": {"acknowledged": 2000},
				"F9": {"acknowledged": 2000}, "F10": {"acknowledged": 2000}, "F13": {"acknowledged": 2000},
			},
			check: checkCompletePrefix,
		},
		{
			ID: "S07", Name: "KeyAffinity", Flavour: ForStream,
			Sentence: "One key is in one partition; where a partition is split, it is drained before what it was split into.",
			Cells: map[string]Evidence{
				"none": {"keyed": 3500}, "F13": {"keyed": 2000, "moved keys": 20, "drained parents": 4},
			},
			check: checkKeyAffinity,
		},
	}
}

func cursorRules() []*Rule {
	return []*Rule{
		{
			ID: "S08", Name: "ExclusiveOwner", Flavour: ForStream,
			Sentence: "A partition has at most one owner in a group, each with an epoch of its own where there are any; one that it was taken from is told, and is fenced: its Commit is ErrLost and has no effect.",
			Cells: map[string]Evidence{
				"none": {"shared": 3500}, "F8": {"moves": 90}, "F9": {"zombies": 40, "fenced": 1000}, "F10": {"moves": 90},
			},
			check: checkExclusiveOwner,
		},
		{
			ID: "S09", Name: "CheckpointSafe", Flavour: ForStream, Core: true,
			Sentence: "A checkpoint is never beyond what was committed as done, and never moves back.",
			Cells: map[string]Evidence{
				"F3": {"resumes": 20}, "F8": {"resumes": 90}, "F9": {"resumes": 40}, "F10": {"resumes": 90, "after a lower commit": 60},
			},
			check: checkCheckpointSafe,
		},
		{
			ID: "S10", Name: "ResumeBound", Flavour: ForStream, Core: true,
			Sentence: "After a crash or a move the first delivery is the first record after a cursor between the last Commit that was nil and any that was tried.",
			Cells: map[string]Evidence{
				"F3": {"resumes": 20, "uncertain resumes": 10}, "F8": {"resumes": 90, "crashes": 90}, "F9": {"resumes": 40}, "F10": {"resumes": 90},
			},
			check: checkResumeBound,
		},
		{
			ID: "S11", Name: "Replay", Flavour: ForStream,
			Sentence: "Reading alone from start= to end= delivers exactly what lies between, ends with io.EOF, and touches no group.",
			Cells: map[string]Evidence{
				"none": {"replayed": 3500, "ends": 10, "resumes": 4}, "F16": {"replayed": 300, "ends": 4},
			},
			check: checkReplay,
		},
		{
			ID: "S12", Name: "StartPosition", Flavour: ForStream,
			Sentence: "A group starts at the earliest that is retained, at a time, an offset, or the latest, which its first open fixes durably, also in partitions that are added later.",
			Cells: map[string]Evidence{
				"none": {"from earliest": 2300, "after latest": 600, "before latest": 300, "from an offset": 4}, "F8": {"after latest": 2000},
				"F13": {"after latest": 1000, "from earliest": 2000}, "F16": {"from a time": 200},
			},
			check: checkStartPosition,
		},
		{
			ID: "S13", Name: "OwnershipLive", Flavour: ForStream, Core: true,
			Sentence: "After members came and went every partition has an owner within the bound, and everything is delivered.",
			Cells: map[string]Evidence{
				"F10": {"acknowledged": 2000, "moves": 60, "delivered after it": 100},
			},
			check: checkOwnershipLive,
		},
		{
			ID: "S16", Name: "CommitFinal", Flavour: ForStream, Core: true,
			Sentence: "After Commit returned nil, nothing at or below it reaches the group again, in the broker's order of offsets.",
			Cells: map[string]Evidence{
				"F3": {"resumes": 20}, "F8": {"resumes": 90}, "F9": {"resumes": 40}, "F10": {"resumes": 90, "committed before": 2300, "across a digit": 4},
			},
			check: checkCommitFinal,
		},
		{
			ID: "S17", Name: "HandOver", Flavour: ForStream,
			Sentence: "A partition that moves in order is Ending first, stays until what its owner has in hand is settled or handover= has passed, and then is Lost.",
			Cells: map[string]Evidence{
				"F10": {"moves": 60, "moves with something in hand": 20},
			},
			check: checkHandOver,
		},
		{
			ID: "S18", Name: "SetBack", Flavour: ForStream,
			Sentence: "Release sets a partition back to the earliest given: that and all after come again, Redelivered, and settling those in hand is ErrLost; a Commit over several partitions settles those that are still ours.",
			Cells: map[string]Evidence{
				"F10": {"set back": 90, "came again": 300, "refused": 90, "over partitions": 60, "partly lost": 10},
			},
			check: checkSetBack,
		},
	}
}

// faultRetention is the fault of scenarios in which what was not read is
// removed.
const faultRetention = "retention"
