package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// steady is a contender's series of equal runs.
func steady(name string, each, cpu time.Duration, allocs uint64) *series {
	s := &series{Contender: name}
	for range 4 {
		s.Samples = append(s.Samples, sample{Messages: 1000, Elapsed: 1000 * each, CPU: 1000 * cpu, Allocs: 1000 * allocs, P99: each})
	}
	return s
}

func TestCompareTakesTheBestPeer(t *testing.T) {
	all := map[string]*series{
		"ours": steady("ours", time.Microsecond, 2*time.Microsecond, 2),
		"slow": steady("slow", 40*time.Microsecond, 10*time.Microsecond, 9),
		"fast": steady("fast", 20*time.Microsecond, 20*time.Microsecond, 25),
	}
	for _, c := range []struct {
		metric metric
		ratio  float64
	}{{rate, 20}, {cost, 0.05}, {p99, 0.05}} {
		r := row{"x", "ours", []string{"slow", "fast"}, c.metric, target{}}.compare(all)
		if r.Peers[0].Contender != "fast" || r.Ratio.Median < c.ratio*0.999 || r.Ratio.Median > c.ratio*1.001 {
			t.Errorf("%s: ratio %v to %s, want %v to fast", c.metric, r.Ratio.Median, r.Peers[0], c.ratio)
		}
		if r.CPURatio != 0.1 || r.Allocs != 2 || r.PeerAllocs != 25 {
			t.Errorf("%s: CPU ratio %v, allocations %v and %v", c.metric, r.CPURatio, r.Allocs, r.PeerAllocs)
		}
	}
	if r := (row{"x", "ours", []string{"slow", "fast"}, cpu, target{}}).compare(all); r.Peers[0].Contender != "slow" {
		t.Errorf("cpu: compared to %s, want slow, which needs less", r.Peers[0])
	}
}

func TestTable(t *testing.T) {
	all := map[string]*series{
		"ours": steady("ours", 500*time.Nanosecond, time.Microsecond, 2),
		"peer": steady("peer", 8*time.Microsecond, 4*time.Microsecond, 25),
	}
	all["peer"].Variant = "buffered"
	var b bytes.Buffer
	out := table{&b}
	out.head()
	out.row(row{"x/y", "ours", []string{"peer"}, rate, target{atLeast: 10, allocs: 3}}.compare(all))
	want := `| case | ours | peer | ratio [quartiles] | CPU ratio | allocs/msg | target | met? |
| --- | --- | --- | --- | --- | --- | --- | --- |
| x/y | 2.00 M/s | peer (buffered) 125 k/s | 16.0 [16.0 .. 16.0] | 0.25 | 2.00 (25.0) | ≥ 10, ≤ 3 allocs | met |
`
	if b.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", b.String(), want)
	}
}

func TestCasesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range cases() {
		names := map[string]bool{}
		for _, c := range g.contenders {
			if names[c.name] {
				t.Errorf("%s: two contenders are called %s", g.rows[0].name, c.name)
			}
			names[c.name] = true
		}
		for _, r := range g.rows {
			if seen[r.name] {
				t.Errorf("two cases are called %s", r.name)
			}
			seen[r.name] = true
			for _, name := range append(r.peers, r.ours) {
				if !names[name] {
					t.Errorf("%s: no contender %s", r.name, name)
				}
			}
		}
	}
}

// TestQuick runs every case, and says nothing of speed.
func TestQuick(t *testing.T) {
	var out, progress bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-json", "-"}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var results []result
	if err := json.Unmarshal(out.Bytes(), &results); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, g := range cases() {
		rows += len(g.rows)
	}
	if len(results) != rows {
		t.Errorf("%d results of %d cases", len(results), rows)
	}
	for _, r := range results {
		if len(r.Ours.Samples) != 2 || len(r.Peers[0].Samples) != 2 || r.Ratio.Median <= 0 {
			t.Errorf("%s: %d and %d samples, ratio %v", r.Case, len(r.Ours.Samples), len(r.Peers[0].Samples), r.Ratio.Median)
		}
	}
}

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"-run", "no such case"}, {"-rounds", "0"}, {"-each", "0s"}, {"-heap", "-1"}, {"stray"}, {"-nonsense"}} {
		var out bytes.Buffer
		if err := run(t.Context(), args, &out, &out); err == nil {
			t.Errorf("%s is accepted", strings.Join(args, " "))
		}
	}
}
