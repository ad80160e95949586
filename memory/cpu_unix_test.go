//go:build unix

package memory

import (
	"syscall"
	"testing"
	"time"
)

// processorTime is what this process has used, in user and system mode.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
