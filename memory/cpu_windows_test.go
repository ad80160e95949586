package memory

import (
	"syscall"
	"testing"
	"time"
)

// processorTime is what this process has used, in user and kernel mode.
func processorTime(tb testing.TB) time.Duration {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		tb.Fatal(err)
	}
	var created, exited, kernel, user syscall.Filetime
	if err := syscall.GetProcessTimes(self, &created, &exited, &kernel, &user); err != nil {
		tb.Fatal(err)
	}
	// Not Filetime.Nanoseconds, which is for points in time.
	span := func(f syscall.Filetime) time.Duration {
		return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
	}
	return span(kernel) + span(user)
}
