package conformance

// Report is what the suite found out about a target.
type Report struct {
	Target  string  `json:"target"`
	Flavour Flavour `json:"flavour"`
	Seed    uint64  `json:"seed,string"` // 0 where histories were checked
	Cells   []Cell  `json:"cells"`       // in the order of the rules and their faults
}

// Cell is a rule under a fault.
type Cell struct {
	Rule       string   `json:"rule"`
	Fault      string   `json:"fault"`
	Verdict    Verdict  `json:"verdict"`
	Evidence   Evidence `json:"evidence,omitempty"` // counted
	Needs      Evidence `json:"needs,omitempty"`    // for held
	Reasons    []string `json:"reasons,omitempty"`  // of every verdict but held
	Violations []Shown  `json:"violations,omitempty"`
}

// Shown is a violation with the part of its history that shows it.
type Shown struct {
	Scenario string   `json:"scenario"`
	Seed     uint64   `json:"seed,string"`
	Text     string   `json:"text"`
	Excerpt  []string `json:"excerpt,omitempty"` // lines, see History.Line
	Events   []Event  `json:"events,omitempty"`
}

// Row returns the verdict of a rule: the worst of its cells. "" is a rule
// that was not checked.
func (r *Report) Row(rule string) Verdict {
	v := Verdict("")
	for i := range r.Cells {
		if r.Cells[i].Rule == rule {
			v = worseOr(v, r.Cells[i].Verdict)
		}
	}
	return v
}
