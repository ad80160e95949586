package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// noise tells how much of the machine others used while something ran.
type noise struct {
	began     time.Time
	busy, own time.Duration
	known     bool
}

func listen() noise {
	busy, ok := busyTime()
	return noise{time.Now(), busy, cpuTime(), ok}
}

// String says what others have used since, "" where it cannot be known.
func (n noise) String() string {
	busy, ok := busyTime()
	if !n.known || !ok {
		return ""
	}
	others := (busy - n.busy) - (cpuTime() - n.own)
	capacity := time.Since(n.began) * time.Duration(runtime.NumCPU())
	return fmt.Sprintf("Others used %.0f %% of this machine meanwhile.", 100*float64(max(others, 0))/float64(capacity))
}

// busyTime is what all cores of this machine have worked, and what its host
// gave to others, since it started. Only Linux tells.
func busyTime() (time.Duration, bool) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	return parseBusy(string(stat))
}

// parseBusy reads the first line of /proc/stat, see proc(5): "cpu", then user,
// nice, system, idle, iowait, irq, softirq and steal, in hundredths of a
// second; what guests took is counted in user already.
func parseBusy(stat string) (time.Duration, bool) {
	line, _, _ := strings.Cut(stat, "\n")
	var t [8]int64
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]); err != nil {
		return 0, false
	}
	ticks := t[0] + t[1] + t[2] + t[5] + t[6] + t[7]
	return time.Duration(ticks) * 10 * time.Millisecond, true
}
