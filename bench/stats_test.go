package main

import (
	"math"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.99, 7},
		{[]float64{3, 1, 2}, 0, 1},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{3, 1, 2}, 1, 3},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{4, 1, 3, 2}, 0.25, 1.75},
		{[]float64{1, 2, 3, 4, 5}, 0.75, 4},
	} {
		if got := quantile(c.values, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile(%v, %v) = %v, want %v", c.values, c.q, got, c.want)
		}
	}
}

func TestQuantileLeavesItsArgumentAlone(t *testing.T) {
	values := []float64{3, 1, 2}
	quantile(values, 0.5)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("the values are %v now", values)
	}
}

func TestRatios(t *testing.T) {
	got := ratios([]float64{10, 30, 5, 8}, []float64{5, 10, 0})
	if len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("ratios are %v, want [2 3]: by pairs, without a zero divisor, as many as both have", got)
	}
}

func TestVerdict(t *testing.T) {
	atLeast, atMost := target{atLeast: 10, allocs: 3}, target{atMost: 1.5}
	for _, c := range []struct {
		name        string
		target      target
		q1, q3      float64
		cpu, allocs float64
		want        string
	}{
		{"no target", target{}, 1, 2, 1, 9, ""},
		{"more, all inside", atLeast, 10, 12, 0.5, 3, "met"},
		{"more, all outside", atLeast, 8, 9.9, 0.01, 3, "**missed** ratio"},
		{"more, straddling, cheap", atLeast, 9, 11, 0.1, 3, "met (by CPU)"},
		{"more, straddling, dear", atLeast, 9, 11, 0.11, 3, "**missed** ratio (by CPU)"},
		{"more, but allocates", atLeast, 11, 12, 0.1, 3.1, "**missed** allocations"},
		{"more, neither", atLeast, 8, 9, 0.1, 4, "**missed** ratio and allocations"},
		{"less, all inside", atMost, 1, 1.5, 9, 9, "met"},
		{"less, all outside", atMost, 1.6, 1.7, 1, 1, "**missed** ratio"},
		{"less, straddling, cheap", atMost, 1.4, 1.6, 1.5, 1, "met (by CPU)"},
		{"less, straddling, dear", atMost, 1.4, 1.6, 1.51, 1, "**missed** ratio (by CPU)"},
	} {
		ratio := spread{Q1: c.q1, Median: (c.q1 + c.q3) / 2, Q3: c.q3}
		if got := c.target.verdict(ratio, c.cpu, c.allocs); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestParseBusy(t *testing.T) {
	got, ok := parseBusy("cpu  1 2 3 4000 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if want := 270.0; !ok || got.Seconds()*1000 != want {
		t.Errorf("busy %v, %v, want %v ms: all but idle, iowait and what guests took", got, ok, want)
	}
	if _, ok := parseBusy("no such line"); ok {
		t.Error("nonsense is read as a time")
	}
}
