//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// started is the program while it waits for more input.
type started struct {
	*exec.Cmd
	stdin  io.WriteCloser
	stdout *strings.Builder
	stderr *bufio.Reader
}

func start(t *testing.T, broker string) *started {
	t.Helper()
	s := &started{Cmd: exec.Command(os.Args[0]), stdout: &strings.Builder{}}
	s.Env = append(os.Environ(), playVar+"="+broker)
	s.Stdout = s.stdout
	s.stdin = must(s.StdinPipe())
	s.stderr = bufio.NewReader(must(s.StderrPipe()))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	tooLong := time.AfterFunc(time.Minute, func() { _ = s.Process.Kill() })
	t.Cleanup(func() {
		tooLong.Stop()
		_ = s.Process.Kill() // if the test failed before
	})
	return s
}

// read reads standard error until a line holds a text.
func (s *started) read(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := s.stderr.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("want to read %q, got %q, %v", text, line, err)
		}
	}
}

func TestASignalDrains(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := start(t, "mem")
			fmt.Fprint(s.stdin, strings.Repeat("a line\n", 1000))
			s.read(t, "1,000 published, 1,000 through the queue")
			must(0, s.Process.Signal(sig))
			s.read(t, "draining")
			s.read(t, "stopped early: "+sig.String())
			_ = s.Wait()
			if code := s.ProcessState.ExitCode(); code != exitInterrupted {
				t.Errorf("exit status %d, want %d", code, exitInterrupted)
			}
			if want := "in all       1,000 published = 999 handled + 1 dead letter + 0 left"; !strings.Contains(s.stdout.String(), want) {
				t.Errorf("want to read %q in:\n%s", want, s.stdout)
			}
		})
	}
}

func TestASignalEndsTheWaitForInput(t *testing.T) {
	s := start(t, "mem")
	s.read(t, "reading lines from standard input")
	must(0, s.Process.Signal(syscall.SIGINT))
	s.read(t, "stopped early")
	_ = s.Wait()
	if code := s.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit status %d, want %d", code, exitInterrupted)
	}
}

func TestASecondSignalEndsIt(t *testing.T) {
	s := start(t, "hangs")
	fmt.Fprintln(s.stdin, "a line")
	s.read(t, "publishing")
	must(0, s.Process.Signal(syscall.SIGTERM))
	s.read(t, "draining")
	must(0, s.Process.Signal(syscall.SIGTERM))
	_ = s.Wait()
	if ws := s.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want by the signal", s.ProcessState)
	}
}
