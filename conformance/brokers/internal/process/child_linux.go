package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// attributes gives a child its own process group, and SIGKILL when its parent
// dies.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// runsIn says whether a process group was started for a folder: the command or
// the environment of one of its processes names it. So a number that some other
// group has by now is not taken for it.
func runsIn(group int, path string) bool {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return false
	}
	for _, dir := range processes {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if g, err := syscall.Getpgid(pid); err != nil || g != group {
			continue
		}
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err == nil && bytes.Contains(b, []byte(path)) {
				return true
			}
		}
	}
	return false
}

// Pause stops the child, and returns once every thread of it is stopped.
func (c *Child) Pause() error {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if err := c.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		for again := time.Now().Add(200 * time.Millisecond); time.Now().Before(again); {
			if stopped, err := c.stopped(); err != nil {
				return fmt.Errorf("process: pause %s: %w", c.name, err)
			} else if stopped {
				return nil
			}
			time.Sleep(time.Millisecond) // there is no event for a thread that stops
		}
		// A thread that waits for its vfork does not stop before the child has
		// called exec, and the child is stopped: let both go on, and try again.
		if err := c.Signal(syscall.SIGCONT); err != nil {
			return err
		}
	}
	return fmt.Errorf("process: pause %s: it has a thread that does not stop", c.name)
}

// stopped says whether every thread is.
func (c *Child) stopped() (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.pid))
	if err != nil || len(threads) == 0 {
		return false, fmt.Errorf("it is gone: %w", os.ErrProcessDone)
	}
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		// pid (name) state ...: a name may hold anything, parentheses too.
		if i := bytes.LastIndexByte(b, ')'); i < 0 || len(b) < i+3 || b[i+2] != 'T' {
			return false, nil
		}
	}
	return true, nil
}

// Resume lets a paused child go on.
func (c *Child) Resume() error { return c.Signal(syscall.SIGCONT) }
