// Command run runs a command with the brokers that it needs:
//
//	go run ./conformance/brokers/run -- go test -count=1 ./...
//
// The command gets this process's standard input, output and error, its
// environment, and in it the endpoints of the brokers. Its exit status is
// returned; one that a signal ended is 128 and the signal's number, one that
// does not start is 127.
//
// First it says what it will install, and does so; it starts each broker once,
// and stops them when the command has ended. Should this process be killed, they
// are killed too. A second run needs no network.
//
// An interrupt, SIGTERM and SIGHUP are passed on to the command and all that
// it started, which is killed at the second one, or ten seconds after the
// first. The command is in a process group of its own, so it cannot read from
// a terminal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	exitUsage      = 2
	exitNotStarted = 127
)

const usage = `usage: go run ./conformance/brokers/run [-brokers rabbitmq,kafka] -- COMMAND [ARGUMENT ...]

Runs COMMAND with the brokers that it needs, such as
	go run ./conformance/brokers/run -- go test -count=1 ./...

What is missing is installed first: from Maven into the user's cache folder,
with apt only by root. -brokers names those that are wanted (all of them if it
is not given, none for none); one whose address is in the environment already,
MESSAGING_RABBITMQ_URL or MESSAGING_KAFKA_URL, is not started.
`

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	l := launcher{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		environ: os.Environ(), signals: signals, grace: 10 * time.Second,
		start: startBrokers,
	}
	os.Exit(l.run(os.Args[1:]))
}

// launcher is what main hands to run, so that a test can hand it something
// else.
type launcher struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	signals        <-chan os.Signal
	grace          time.Duration // from the first signal to the kill

	start func(ctx context.Context, log io.Writer, lookup func(string) string, wanted []broker) (endpoints []string, stop func(), err error)
}

// run runs the command in args and returns the exit status.
func (l *launcher) run(args []string) int {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.SetOutput(l.stderr)
	list := flags.String("brokers", "rabbitmq,kafka", "")
	flags.Usage = func() { fmt.Fprint(l.stderr, usage) }
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case flags.Arg(0) == "":
		fmt.Fprint(l.stderr, "run: no command given\n\n", usage)
		return exitUsage
	}
	wanted, err := chosen(*list)
	if err != nil {
		fmt.Fprintf(l.stderr, "run: %v\n\n%s", err, usage)
		return exitUsage
	}
	endpoints, stop, err := l.brokers(wanted)
	if sig, ok := errors.AsType[signalled](err); ok {
		fmt.Fprintln(l.stderr, "run: start brokers:", sig)
		return 128 + int(sig.Signal)
	} else if err != nil {
		fmt.Fprintln(l.stderr, "run: start brokers:", err)
		return 1
	}
	defer stop()
	return l.command(flags.Args(), endpoints)
}

// signalled is the cause of a start that a signal ended.
type signalled struct{ syscall.Signal }

func (s signalled) Error() string { return "ended by signal: " + s.Signal.String() }

// brokers starts the brokers, until the first signal.
func (l *launcher) brokers(wanted []broker) (endpoints []string, stop func(), err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case sig := <-l.signals:
			cancel(signalled{sig.(syscall.Signal)})
		case <-ctx.Done():
		}
	})
	endpoints, stop, err = l.start(ctx, l.stderr, l.lookup, wanted)
	cancel(nil)
	wg.Wait()
	if sig, ok := errors.AsType[signalled](context.Cause(ctx)); ok {
		if err == nil {
			stop()
		}
		err = sig
	}
	return endpoints, stop, err
}

// lookup returns a variable of the environment.
func (l *launcher) lookup(name string) string {
	for _, pair := range slices.Backward(l.environ) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// command runs args with the endpoints added to its environment, until it
// ends or has to be ended.
func (l *launcher) command(args, endpoints []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = l.stdin, l.stdout, l.stderr
	cmd.Env = append(l.environ[:len(l.environ):len(l.environ)], endpoints...)
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(l.stderr, "run: start command:", err)
		if errors.Is(err, fs.ErrPermission) {
			return exitNotStarted - 1 // as a shell says: found, but not executable
		}
		return exitNotStarted
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	var tooLong <-chan time.Time
	for {
		select {
		case err := <-ended:
			if tooLong != nil {
				killGroup(cmd) // what the command started and left behind
			}
			return l.status(cmd, err)
		case sig := <-l.signals:
			if tooLong != nil {
				killGroup(cmd)
				continue
			}
			tooLong = time.After(l.grace)
			signalGroup(cmd, sig)
		case <-tooLong:
			fmt.Fprintf(l.stderr, "run: the command did not end within %v: killed\n", l.grace)
			killGroup(cmd)
		}
	}
}

// status turns the command's end into this program's exit status.
func (l *launcher) status(cmd *exec.Cmd, err error) int {
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		fmt.Fprintln(l.stderr, "run: wait for command:", err)
		return 1
	}
	if sig := endedBy(cmd.ProcessState); sig != 0 {
		fmt.Fprintf(l.stderr, "run: the command was ended by signal: %v\n", sig)
		return 128 + int(sig)
	}
	return cmd.ProcessState.ExitCode()
}
