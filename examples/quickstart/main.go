// Command quickstart shows a queue and a stream at work on the lines of a
// file, of standard input or, with nothing given, of Go's API history:
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart service.log
//	journalctl | go run ./examples/quickstart
//
// It publishes each line as a message. Three workers share them as a queue:
// each message goes to one of them. Worker 3 fails every tenth message that it
// gets, which then comes again, to any of them; one line fails everywhere and
// ends in the dead letters. A reader follows the same lines as a stream, each
// key's in order, and reads them again from the log.
//
// The broker is named by a URL: -url, else the environment variable
// MESSAGING_URL, else mem://quickstart, a broker in this process;
// amqp://guest:guest@localhost/ is a RabbitMQ. What a
// broker does not have, queues or streams, is left out. A message's key is the
// first field of a line whose values repeat; -key says which field instead.
// On a broker that others use, too, give it a channel of its own, and run it
// there once at a time.
//
// An interrupt or SIGTERM drains: what runs is finished and settled, and the
// summary says what is left. A second one ends the program at once.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/kafka"
	"github.com/fa5182d2/messaging/memory"
	"github.com/fa5182d2/messaging/rabbitmq"
)

// backends are the brokers that this program knows, by URL scheme. A new one
// is a new line here.
func backends() messaging.Backends {
	return messaging.Backends{
		"mem":   &memory.Backend{Retain: -1}, // for the replay: keep what was read
		"kafka": &kafka.Backend{Create: true},
		"amqp":  &rabbitmq.Backend{Exchange: "quickstart"},
		"amqps": &rabbitmq.Backend{Exchange: "quickstart"},
	}
}

func main() {
	p := program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv, backends: backends(), patience: 30 * time.Second,
	}
	os.Exit(p.main(os.Args[1:]))
}

// program is what main hands to run, so that a test can hand it something
// else.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	backends       messaging.Backends
	patience       time.Duration // with a broker that delivers nothing more
}

const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// main is run with a context that the first signal ends. The second one is
// not caught.
func (p *program) main(args []string) int {
	signalled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, drain := context.WithCancelCause(context.Background())
	context.AfterFunc(signalled, func() {
		stop()
		fmt.Fprintln(p.stderr, "quickstart: draining; a second signal ends it at once")
		drain(context.Cause(signalled))
	})
	return p.run(ctx, args)
}

// run is the whole program, but for the signals. It returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(p.stderr)
	rawURL := flags.String("url", cmp.Or(p.getenv("MESSAGING_URL"), "mem://quickstart"), "the `URL` of a broker's channel; the default is MESSAGING_URL, else mem://quickstart")
	flags.Lookup("url").DefValue = "" // it may hold a password
	key := flags.Int("key", 0, "the `field` of a line that is its key, from 1; the default is the first whose values repeat")
	flags.Usage = func() {
		fmt.Fprintln(p.stderr, "usage: go run ./examples/quickstart [-url URL] [-key FIELD] [FILE | -]")
		flags.PrintDefaults()
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case flags.NArg() > 1 || *key < 0:
		fmt.Fprintln(p.stderr, "quickstart: want at most one file, and a -key from 1")
		flags.Usage()
		return exitUsage
	}
	return p.status(ctx, p.show(ctx, *rawURL, flags.Arg(0), *key))
}

// show reads the input and takes its lines through the broker.
func (p *program) show(ctx context.Context, rawURL, file string, key int) error {
	in, err := p.openInput(ctx, file)
	if err != nil {
		return err
	}
	defer in.Close()
	t := &tour{program: p, url: rawURL, runID: messaging.NewID(), publishing: publishing{in: in, keyFlag: key}}
	defer t.close()
	if err := t.open(ctx); err != nil {
		return err
	}
	stop := t.showProgress()
	err = t.run(ctx)
	stop()
	t.report(p.stdout)
	return err
}

// status says how it went and returns the exit status.
func (p *program) status(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		fmt.Fprintln(p.stderr, "quickstart: stopped early:", err)
		return exitInterrupted
	}
	fmt.Fprintln(p.stderr, "quickstart:", err)
	return exitFailed
}
