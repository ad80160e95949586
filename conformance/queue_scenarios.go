package conformance

// queueScenarios are the runs for queueRules.
func queueScenarios() []*scenario {
	return []*scenario{
		{
			name: "nacks", flavour: ForQueue, fault: "F11",
			rules: []string{"Q03", "Q04", "Q05", "Q09", "Q11", "Q12", "Q15", "Q18", "Q19"},
			drive: driveNacks,
		},
		{
			name: "crashes", flavour: ForQueue, fault: "F8", needs: needsCrash,
			rules: []string{"Q01", "Q03", "Q05", "Q06", "Q09", "Q11", "Q12", "Q15"},
			drive: func(r *run) { driveLeaving(r, open{}, true) },
		},
		{
			name: "leaving", flavour: ForQueue, fault: "F10",
			rules: []string{"Q03", "Q05", "Q10", "Q11", "Q12", "Q15", "Q19"},
			drive: func(r *run) { driveLeaving(r, open{}, false) },
		},
		{
			name: "slow", flavour: ForQueue, fault: "F11",
			rules: []string{"Q05", "Q07"},
			drive: func(r *run) { driveSlow(r, false, true) },
		},
		{
			name: "overdue", flavour: ForQueue, fault: "F9", needs: needsHold,
			rules: []string{"Q05", "Q06", "Q07", "Q08", "Q12"},
			drive: func(r *run) { driveSlow(r, true, false) },
		},
		{
			name: "clock-steps", flavour: ForQueue, fault: "F16", needs: needs(needsClock, needsHold),
			rules: []string{"Q05", "Q06", "Q07"},
			drive: driveClock,
		},
		{
			name: "zombies", flavour: ForQueue, fault: "F9", needs: needsFreeze,
			rules: []string{"Q03", "Q05", "Q06", "Q08", "Q11", "Q12", "Q15", "Q18"},
			drive: driveZombies,
		},
		{
			name: "lost-replies", flavour: ForQueue, fault: "F3", needs: needsFault("F3"),
			rules: []string{"Q03", "Q09", "Q11", "Q12", "Q15", "Q18"},
			drive: driveLostReplies,
		},
		{
			name: "fanout", flavour: ForQueue, fault: "none",
			rules: []string{"Q03", "Q10", "Q11", "Q15", "Q17"},
			drive: driveFanout,
		},
		{
			name: "ordered-nacks", flavour: ForQueue, fault: "F11", needs: needsOrdered,
			rules: []string{"Q16"},
			drive: driveOrdered,
		},
		{
			name: "ordered-crashes", flavour: ForQueue, fault: "F8",
			needs: needs(needsCrash, needsOrdered),
			rules: []string{"Q16"},
			drive: func(r *run) { driveLeaving(r, open{ordered: true}, true) },
		},
		{
			name: "ordered-leaving", flavour: ForQueue, fault: "F10", needs: needsOrdered,
			rules: []string{"Q16"},
			drive: func(r *run) { driveLeaving(r, open{ordered: true}, false) },
		},
	}
}

func needsHold(t *Target) string {
	if t.Hold == 0 {
		return "the target has no hold="
	}
	return ""
}

func needsOrdered(t *Target) string {
	if t.Ordered == nil {
		return "the target has no queue that promises OrderedByKey"
	}
	return ""
}

// needs says the first thing that is missing.
func needs(all ...func(*Target) string) func(*Target) string {
	return func(t *Target) string {
		for _, one := range all {
			if why := one(t); why != "" {
				return why
			}
		}
		return ""
	}
}
