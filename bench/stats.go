package main

import (
	"fmt"
	"slices"
	"strings"
)

// quantile returns the q-quantile of values, 0 to 1, between the two nearest
// by linear interpolation. It is 0 of none.
func quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	place := q * float64(len(sorted)-1)
	below := int(place)
	above := min(below+1, len(sorted)-1)
	part := place - float64(below)
	return T(float64(sorted[below])*(1-part) + float64(sorted[above])*part)
}

// spread is a median with its quartiles.
type spread struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
}

func spreadOf(values []float64) spread {
	return spread{quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)}
}

// ratios divides ours by theirs, pair by pair.
func ratios(ours, theirs []float64) []float64 {
	var all []float64
	for i := range min(len(ours), len(theirs)) {
		if theirs[i] > 0 {
			all = append(all, ours[i]/theirs[i])
		}
	}
	return all
}

// target is what a row has to reach. The zero value is none: such a row
// informs.
type target struct {
	atLeast, atMost float64 // bounds of the ratio; 0: none
	allocs          float64 // most allocations a message of ours; 0: no bound
}

// String says it as the table does.
func (t target) String() string {
	var parts []string
	for _, b := range []struct {
		bound float64
		form  string
	}{{t.atLeast, "≥ %g"}, {t.atMost, "≤ %g"}, {t.allocs, "≤ %g allocs"}} {
		if b.bound > 0 {
			parts = append(parts, fmt.Sprintf(b.form, b.bound))
		}
	}
	return strings.Join(parts, ", ")
}

// verdict judges a row. The ratio is inside its bound, or outside of it, when
// both quartiles are. Where they straddle the bound the CPU ratio decides,
// which is ours to theirs, whatever way round the ratio is.
func (t target) verdict(ratio spread, cpu, allocs float64) string {
	if t == (target{}) {
		return ""
	}
	var missed, by []string
	inside := func(ok, straddles, cpuOK bool) {
		if straddles {
			ok = cpuOK
			by = append(by, "by CPU")
		}
		if !ok {
			missed = append(missed, "ratio")
		}
	}
	if t.atLeast > 0 {
		inside(ratio.Q1 >= t.atLeast, ratio.Q1 < t.atLeast && ratio.Q3 >= t.atLeast, cpu <= 1/t.atLeast)
	}
	if t.atMost > 0 {
		inside(ratio.Q3 <= t.atMost, ratio.Q1 <= t.atMost && ratio.Q3 > t.atMost, cpu <= t.atMost)
	}
	if t.allocs > 0 && allocs > t.allocs {
		missed = append(missed, "allocations")
	}
	result := "met"
	if len(missed) > 0 {
		result = "**missed** " + strings.Join(missed, " and ")
	}
	if len(by) > 0 {
		result += " (" + by[0] + ")"
	}
	return result
}
