//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// playVar names the part that this test binary plays when a test runs it as
// the launcher's command.
const playVar = "MESSAGING_TEST_PLAY"

func TestMain(m *testing.M) {
	if part := os.Getenv(playVar); part != "" {
		play(part)
	}
	goleak.VerifyTestMain(m)
}

// play is the command of the tests below.
func play(part string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	switch part {
	case "echo":
		io.Copy(os.Stdout, os.Stdin)
		fmt.Fprint(os.Stderr, "ENDPOINT=", os.Getenv("ENDPOINT"))
		os.Exit(7)
	case "polite": // exits when it is asked to
		fmt.Println("ready")
		<-signals
		os.Exit(9)
	case "stubborn": // as its child, which keeps standard output open
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), playVar+"=deaf")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			panic(err)
		}
		select {}
	case "parent": // exits when it is asked to, its child does not
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), playVar+"=deaf")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			panic(err)
		}
		<-signals
		os.Exit(0)
	case "deaf":
		fmt.Println("ready")
		select {}
	}
	panic("no part " + part)
}

// safeBuffer is a buffer that several goroutines may write to, as a file is.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newLauncher(part string) (*launcher, *safeBuffer, chan os.Signal) {
	var stderr safeBuffer
	signals := make(chan os.Signal, 2)
	return &launcher{
		stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr,
		environ: append(os.Environ(), playVar+"="+part, "ENDPOINT=there"),
		signals: signals, grace: time.Hour,
		start: func(_ context.Context, log io.Writer, _ func(string) string, wanted []broker) ([]string, func(), error) {
			fmt.Fprintf(log, "%d wanted\n", len(wanted))
			return []string{"ENDPOINT=here"}, func() { fmt.Fprintln(log, "stopped") }, nil
		},
	}, &stderr, signals
}

func TestCommandGetsItsStreamsAndEnvironmentAndGivesItsStatus(t *testing.T) {
	l, stderr, _ := newLauncher("echo")
	var stdout bytes.Buffer
	l.stdin, l.stdout = strings.NewReader("input"), &stdout
	if status := l.run([]string{"--", os.Args[0]}); status != 7 {
		t.Errorf("status %d, want the command's 7", status)
	}
	if stdout.String() != "input" {
		t.Errorf("the command wrote %q, want its input and nothing of the launcher's", stdout.String())
	}
	for _, want := range []string{"2 wanted", "ENDPOINT=here", "stopped"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("standard error is %q, want %q in it", stderr.String(), want)
		}
	}
}

func TestCommandThatCannotRun(t *testing.T) {
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, exitUsage, "no command given"},
		{[]string{"--"}, exitUsage, "no command given"},
		{[]string{"-count=1"}, exitUsage, "usage:"},
		{[]string{"-brokers=kafka,nats", "--", "true"}, exitUsage, "no broker \"nats\": want none, or of rabbitmq,kafka"},
		{[]string{"-h"}, 0, "usage:"},
		{[]string{"--", "no-such-command-anywhere"}, 127, "no-such-command-anywhere"},
		{[]string{"--", t.TempDir()}, 126, "permission denied"},
	} {
		l, stderr, _ := newLauncher("")
		if status := l.run(test.args); status != test.status {
			t.Errorf("run %q: status %d, want %d", test.args, status, test.status)
		}
		if !strings.Contains(stderr.String(), test.says) {
			t.Errorf("run %q says %q, want %q in it", test.args, stderr.String(), test.says)
		}
	}
}

// Each part is signalled once it is ready, and the test ends when everything
// that holds its standard output is gone.
func TestSignals(t *testing.T) {
	for _, test := range []struct {
		part    string
		grace   time.Duration
		signals int
		status  int
	}{
		{part: "polite", grace: time.Hour, signals: 1, status: 9},
		{part: "parent", grace: time.Hour, signals: 1, status: 0},
		{part: "stubborn", grace: time.Hour, signals: 2, status: 128 + int(syscall.SIGKILL)},
		{part: "stubborn", grace: time.Millisecond, signals: 1, status: 128 + int(syscall.SIGKILL)},
	} {
		t.Run(fmt.Sprint(test.part, test.signals), func(t *testing.T) {
			l, _, signals := newLauncher(test.part)
			l.grace = test.grace
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			l.stdout = in
			status := make(chan int)
			go func() { status <- l.run([]string{os.Args[0]}) }()

			lines := bufio.NewReader(out)
			if line, err := lines.ReadString('\n'); line != "ready\n" {
				t.Fatalf("the command said %q, %v", line, err)
			}
			for range test.signals {
				signals <- syscall.SIGTERM
			}
			if got := <-status; got != test.status {
				t.Errorf("status %d, want %d", got, test.status)
			}
			in.Close()
			if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
				t.Errorf("then the command said %q, %v", rest, err)
			}
		})
	}
}
