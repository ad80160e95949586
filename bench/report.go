package main

import (
	"fmt"
	"io"
	"strings"
)

// result is a row of the table.
type result struct {
	Case       string    `json:"case"`
	Metric     metric    `json:"metric"`
	Ours       *series   `json:"ours"`
	Peers      []*series `json:"peers"` // the best first
	Ratio      spread    `json:"ratio"`
	CPURatio   float64   `json:"cpuRatio"`
	Allocs     float64   `json:"allocs"`
	PeerAllocs float64   `json:"peerAllocs"`
	Target     string    `json:"target,omitempty"`
	Verdict    string    `json:"verdict,omitempty"`
}

// compare makes the row's result: ours against the peer whose median is best.
func (r row) compare(all map[string]*series) result {
	mine := all[r.ours]
	res := result{Case: r.name, Metric: r.metric, Ours: mine}
	for _, name := range r.peers {
		peer := all[name]
		if len(res.Peers) > 0 && r.metric.better(peer.median(r.metric.of), res.Peers[0].median(r.metric.of)) {
			res.Peers = append([]*series{peer}, res.Peers...)
		} else {
			res.Peers = append(res.Peers, peer)
		}
	}
	peer := res.Peers[0]
	res.Ratio = spreadOf(ratios(mine.values(r.metric.of), peer.values(r.metric.of)))
	res.CPURatio = spreadOf(ratios(mine.values(cpu.of), peer.values(cpu.of))).Median
	res.Allocs, res.PeerAllocs = mine.median(allocs), peer.median(allocs)
	res.Target = r.target.String()
	res.Verdict = r.target.verdict(res.Ratio, res.CPURatio, res.Allocs)
	return res
}

func allocs(s sample) float64 { return s.per(float64(s.Allocs)) }

// values are those of all rounds.
func (s *series) values(of func(sample) float64) []float64 {
	values := make([]float64, len(s.Samples))
	for i := range s.Samples {
		values[i] = of(s.Samples[i])
	}
	return values
}

func (s *series) median(of func(sample) float64) float64 { return quantile(s.values(of), 0.5) }

func (s *series) String() string {
	if s.Variant == "" {
		return s.Contender
	}
	return s.Contender + " (" + s.Variant + ")"
}

// table prints rows as Markdown.
type table struct{ w io.Writer }

var columns = []string{"case", "ours", "peer", "ratio [quartiles]", "CPU ratio", "allocs/msg", "target", "met?"}

func (t table) head() {
	t.line(columns)
	t.line(strings.Split(strings.Repeat("---,", len(columns)-1)+"---", ","))
}

func (t table) row(r result) {
	var peers []string
	for _, p := range r.Peers {
		peers = append(peers, fmt.Sprintf("%v %s", p, r.Metric.format(p.median(r.Metric.of))))
	}
	ours := r.Metric.format(r.Ours.median(r.Metric.of))
	if r.Ours.Variant != "" {
		ours += " (" + r.Ours.Variant + ")"
	}
	t.line([]string{
		r.Case,
		ours,
		strings.Join(peers, "; "),
		fmt.Sprintf("%s [%s .. %s]", factor(r.Ratio.Median), factor(r.Ratio.Q1), factor(r.Ratio.Q3)),
		factor(r.CPURatio),
		fmt.Sprintf("%.2f (%.1f)", r.Allocs, r.PeerAllocs),
		r.Target,
		r.Verdict,
	})
}

func (t table) line(cells []string) { fmt.Fprintf(t.w, "| %s |\n", strings.Join(cells, " | ")) }

func factor(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
