package conformance

// publishRules are P01 to P12.
func publishRules() []*Rule {
	return []*Rule{
		{
			ID: "P01", Name: "AckedNotLost", Flavour: ForBoth, Core: true,
			Sentence: "When Publish returned nil, every group whose subject matches gets the message settled in the end, or it is in its dead letters.",
			Cells: map[string]Evidence{
				"none": {"acknowledged": 3500},
			},
			check: checkAckedNotLost,
		},
	}
}

// checkAckedNotLost counts what was acknowledged to a publisher and then never
// settled. A message that was delivered once and then lost counts as lost: its
// settle never came.
func checkAckedNotLost(v *View, f *Finding) {
	groups := v.groups()
	for n := range v.Messages {
		acked := v.acknowledged(n)
		if acked < 0 {
			continue
		}
		for _, g := range groups {
			if !v.expects(g, n) {
				continue
			}
			f.count("acknowledged", 1)
			if v.doneFor(g, n) {
				continue
			}
			switch at := v.lastDelivery(g, n); {
			case at < 0:
				f.violate([]int{acked}, "message %s was acknowledged and never delivered to group %q", v.name(n), g.group)
			default:
				f.violate([]int{acked, at}, "message %s was acknowledged, delivered to group %q, and never settled nor delivered again", v.name(n), g.group)
			}
		}
	}
}
