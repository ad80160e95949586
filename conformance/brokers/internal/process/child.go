//go:build unix

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// A Child is a running server. Its methods may be called from several
// goroutines.
type Child struct {
	name string
	pid  int
	mark string // the file that names its process group
	log  string
	done chan struct{} // closed when it is gone
	end  error         // what Wait returned, once done
}

// Start starts a command as a child, in a process group of its own, with no
// standard input. What it says goes to the file name.log in the folder, at its
// end. Environ is its whole environment.
func (f *Folder) Start(name string, environ []string, args ...string) (*Child, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("process: start %s: the folder is closed", name)
	}
	c := &Child{name: name, log: f.Path(name + ".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("process: start %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = f.path, environ, log, log
	cmd.SysProcAttr = attributes()
	if err := c.run(cmd, filepath.Join(f.path, groupsDir)); err != nil {
		return nil, fmt.Errorf("process: start %s: %w", name, err)
	}
	f.children = append(f.children, c)
	return c, nil
}

// run starts cmd, and waits for its end, on one thread that lives as long as
// the child: the kernel sends the signal of a parent's death when the thread
// ends that started the child (https://go.dev/issue/27505).
func (c *Child) run(cmd *exec.Cmd, groups string) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		c.pid = cmd.Process.Pid
		c.mark = filepath.Join(groups, strconv.Itoa(c.pid))
		err := os.WriteFile(c.mark, nil, 0o600)
		if err != nil {
			_ = c.Signal(syscall.SIGKILL)
		}
		started <- err
		c.end = cmd.Wait()
		_ = c.Signal(syscall.SIGKILL) // what it started and left behind
		os.Remove(c.mark)
		close(c.done)
	}()
	return <-started
}

// Pid returns the child's process id.
func (c *Child) Pid() int { return c.pid }

// Done is closed when the child is gone.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the child ended and what it said last. It is nil while it runs.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return fmt.Errorf("process: %s ended: %w; it said:\n%s", c.name, endOf(c.end), c.Tail())
	default:
		return nil
	}
}

func endOf(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Tail returns the last lines of the child's log.
func (c *Child) Tail() string { return tail(c.log) }

// Tail returns the last lines of what was said under a name, by whatever has
// been started under it.
func (f *Folder) Tail(name string) string { return tail(f.Path(name + ".log")) }

func tail(path string) string {
	const most = 4 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		f.Seek(-most, io.SeekEnd)
	}
	b, _ := io.ReadAll(io.LimitReader(f, most))
	return string(bytes.TrimSpace(b))
}

// Signal sends a signal to the child's process group. A group that is gone is
// no error.
func (c *Child) Signal(s syscall.Signal) error {
	select {
	case <-c.done:
		return nil // its number may be another's by now
	default:
	}
	if err := syscall.Kill(-c.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process: send %v to %s: %w", s, c.name, err)
	}
	return nil
}

// Kill ends the child and all in its process group at once, and returns when
// it is gone.
func (c *Child) Kill() error {
	err := c.Signal(syscall.SIGKILL)
	if err == nil {
		<-c.done
	}
	return err
}
