//go:build unix && !linux

package process

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes gives a child its own process group.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// runsIn says whether a process group was started for a folder: the command or
// the environment of one of its processes names it. So a number that some other
// group has by now is not taken for it.
func runsIn(group int, path string) bool {
	out, err := exec.Command("ps", "-ww", "-E", "-ax", "-o", "pgid=,command=").Output()
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(out)) {
		if number, command, ok := strings.Cut(strings.TrimSpace(line), " "); ok && number == strconv.Itoa(group) && strings.Contains(command, path) {
			return true
		}
	}
	return false
}

// Pause stops the child.
func (c *Child) Pause() error { return c.Signal(syscall.SIGSTOP) }

// Resume lets a paused child go on.
func (c *Child) Resume() error { return c.Signal(syscall.SIGCONT) }
