package main

import "fmt"

// metric is what a row compares.
type metric string

const (
	rate metric = "rate" // messages a second: more is better, unlike of all others
	cost metric = "cost" // time a message
	cpu  metric = "cpu"  // CPU time a message
	p99  metric = "p99"  // of the time from publish to consumer
)

func (m metric) of(s sample) float64 {
	switch m {
	case rate:
		return s.rate()
	case cpu:
		return s.per(float64(s.CPU))
	case p99:
		return float64(s.P99)
	default:
		return s.per(float64(s.Elapsed))
	}
}

// better says whether a beats b.
func (m metric) better(a, b float64) bool {
	if m == rate {
		return a > b
	}
	return a < b
}

func (m metric) format(v float64) string {
	if m == rate {
		return perSecond(v)
	}
	return nanoseconds(v)
}

func perSecond(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f M/s", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.0f k/s", v/1e3)
	}
	return fmt.Sprintf("%.0f /s", v)
}

func nanoseconds(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.1f ms", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.2f µs", v/1e3)
	}
	return fmt.Sprintf("%.0f ns", v)
}
