//go:build linux

package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// ownerVar makes this test binary an owner: it starts a child and says where.
const ownerVar = "MESSAGING_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVar) != "" {
		owner(os.Getenv(ownerVar))
	}
	goleak.VerifyTestMain(m)
}

// owner starts a shell that has a child of its own, says their numbers and the
// folder, and waits to be killed.
func owner(how string) {
	f, err := NewFolder("test")
	if err != nil {
		panic(err)
	}
	c, err := f.Start("family", []string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.Path()},
		"/bin/sh", "-c", `sleep 1000 & echo $! > "$HOME/grandchild"; wait`)
	if err != nil {
		panic(err)
	}
	for {
		if b, err := os.ReadFile(f.Path("grandchild")); err == nil && len(b) > 0 {
			fmt.Printf("%d %d %s %s", c.Pid(), f.watcher.pid, f.Path(), b)
			break
		}
	}
	if how == "panics" {
		panic("as it was told to")
	}
	select {}
}

// within fails a test unless done comes true in a time that is long.
func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// gone says whether a process is: a zombie, which nobody has reaped yet, is.
func gone(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return errors.Is(err, fs.ErrNotExist) || strings.Contains(string(b), ") Z ")
}

func startOwner(t *testing.T, how string) (cmd *exec.Cmd, child, watcher, grandchild int, path string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerVar+"="+how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner said %q, %v", line, err)
	}
	if _, err := fmt.Sscan(line, &child, &watcher, &path, &grandchild); err != nil {
		t.Fatalf("the owner said %q: %v", line, err)
	}
	return cmd, child, watcher, grandchild, path
}

func TestNothingOutlivesItsOwner(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, how := range []string{"killed", "panics", "killed with its watcher"} {
		t.Run(how, func(t *testing.T) {
			cmd, child, watcher, grandchild, path := startOwner(t, how)
			if how == "killed with its watcher" {
				syscall.Kill(watcher, syscall.SIGKILL)
			}
			if how != "panics" {
				cmd.Process.Kill()
			}
			cmd.Wait()
			within(t, "the child is gone", func() bool { return gone(child) })
			if how == "killed with its watcher" {
				if gone(grandchild) {
					t.Fatal("the grandchild is gone already: this test shows nothing")
				}
				next, err := NewFolder("next") // the next run
				if err != nil {
					t.Fatal(err)
				}
				defer next.Close()
			}
			within(t, "the grandchild is gone", func() bool { return gone(grandchild) })
			within(t, "the folder is gone", func() bool {
				_, err := os.Stat(path)
				return errors.Is(err, fs.ErrNotExist)
			})
		})
	}
}

func newTestFolder(t *testing.T) *Folder {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	f, err := NewFolder("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestSweepLeavesTheLivingAlone(t *testing.T) {
	f := newTestFolder(t)
	c, err := f.Start("sleeper", os.Environ(), "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	// A process whose number a dead owner's folder names, by chance.
	other := filepath.Join(Root(), "dead")
	if err := os.MkdirAll(filepath.Join(other, groupsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, groupsDir, strconv.Itoa(c.Pid())), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Path(lockName)); err != nil {
		t.Errorf("the folder of a living owner: %v", err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("the folder of a dead owner is still there")
	}
	if gone(c.Pid()) || c.Err() != nil {
		t.Errorf("the sweep killed a process of a living owner: %v", c.Err())
	}
}

func TestPauseStopsEveryThread(t *testing.T) {
	f := newTestFolder(t)
	c, err := f.Start("busy", os.Environ(), "sh", "-c", "while :; do echo tick; sleep 0.01; done")
	if err != nil {
		t.Fatal(err)
	}
	within(t, "it ticks", func() bool { return c.Tail() != "" })
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	if stopped, err := c.stopped(); !stopped || err != nil {
		t.Errorf("after Pause: stopped %v, %v", stopped, err)
	}
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	within(t, "it goes on", func() bool { stopped, _ := c.stopped(); return !stopped })
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(); err != nil || c.Err() == nil {
		t.Errorf("Kill of what is paused: %v, then Err %v", err, c.Err())
	}
	if err := c.Pause(); err == nil {
		t.Error("Pause of what is gone: no error")
	}
}

func TestChildThatEndsSaysWhy(t *testing.T) {
	f := newTestFolder(t)
	c, err := f.Start("broken", os.Environ(), "sh", "-c", "echo no disk left; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no disk left") {
		t.Errorf("Err: %v, want its status and its last words", err)
	}
	if _, err := f.Start("none", nil, "no-such-program"); err == nil {
		t.Error("a program that is not there: no error")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Start("late", nil, "true"); err == nil {
		t.Error("Start after Close: no error")
	}
}

func TestPortsAreFreeAndNobodyElses(t *testing.T) {
	f := newTestFolder(t)
	seen := map[int]bool{}
	for range 50 {
		port, err := f.Port()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Errorf("port %d twice", port)
		}
		seen[port] = true
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
