// Bench measures messaging beside its peers and beside bare Go. It prints a
// Markdown table of ratios; README.md says how to read it.
//
//	go run .                        # all of it, some minutes
//	go run . -run 'throughput/queue' -rounds 20
//	go run . -quick                 # a moment: does it run at all?
//	go run . -list                  # the cases
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		log.Fatal(err)
	}
}

// config is the command line.
type config struct {
	run, json, profile string
	rounds, heap       int
	seed               uint64
	each               time.Duration
	quick, list, quiet bool
}

func parse(args []string, usage io.Writer) (config, error) {
	var c config
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&c.run, "run", "", "only cases that match this `regexp`")
	f.IntVar(&c.rounds, "rounds", 10, "pairs of each case")
	f.IntVar(&c.heap, "heap", 0, "`MiB` that the process holds beside: the more, the less the garbage collector runs")
	f.DurationVar(&c.each, "each", 100*time.Millisecond, "how much CPU time one run of a contender is to take")
	f.Uint64Var(&c.seed, "seed", uint64(time.Now().UnixNano()), "of the order of contenders")
	f.StringVar(&c.json, "json", "", "write all samples to this `file`; - is standard output, instead of the table")
	f.StringVar(&c.profile, "cpuprofile", "", "write a CPU profile of the measured cases to this `file`")
	f.BoolVar(&c.quick, "quick", false, "two rounds of few messages: for tests, the numbers mean nothing")
	f.BoolVar(&c.list, "list", false, "print the names of the cases and measure nothing")
	f.BoolVar(&c.quiet, "quiet", false, "no progress on standard error")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: cases are selected with -run", f.Arg(0))
	}
	if c.rounds < 1 || c.each <= 0 || c.heap < 0 {
		return c, fmt.Errorf("-rounds and -each are above 0, not %d and %v, and -heap is not below, as %d is", c.rounds, c.each, c.heap)
	}
	return c, nil
}

func run(ctx context.Context, args []string, stdout, progress io.Writer) error {
	c, err := parse(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	match, err := regexp.Compile(c.run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var groups []group
	for _, g := range cases() {
		if g = g.of(match.MatchString); len(g.rows) > 0 {
			groups = append(groups, g)
		}
	}
	switch {
	case len(groups) == 0:
		return fmt.Errorf("no case matches -run %q; -list prints them", c.run)
	case c.list:
		for _, g := range groups {
			for _, r := range g.rows {
				fmt.Fprintln(stdout, r.name, r.target)
			}
		}
		return nil
	}
	if c.quiet {
		progress = io.Discard
	}
	stopProfile, err := profile(c.profile)
	if err != nil {
		return err
	}
	results, err := c.measure(ctx, groups, stdout, progress)
	if err := stopProfile(); err != nil {
		return err
	}
	if c.json != "" {
		if err := c.write(results, stdout); err != nil {
			return err
		}
	}
	return err
}

// measure measures groups and prints their rows as they come.
func (c config) measure(ctx context.Context, groups []group, stdout, progress io.Writer) ([]result, error) {
	p := c.plan()
	if c.json == "-" {
		stdout = io.Discard
	}
	t := table{stdout}
	fmt.Fprintf(stdout, "%s %s/%s, %d cores, %d rounds, seed %d\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), p.rounds, p.seed)
	t.head()
	held := make([]byte, c.heap<<20)
	defer runtime.KeepAlive(held)
	began, others := time.Now(), listen()
	var results []result
	for _, g := range groups {
		p.say = func(format string, args ...any) {
			fmt.Fprintf(progress, "%4.0fs %s, %s\n", time.Since(began).Seconds(), g.rows[0].name, fmt.Sprintf(format, args...))
		}
		all, err := p.measure(ctx, g.work, g.contenders)
		if err != nil {
			return results, fmt.Errorf("%s: %w", g.rows[0].name, err)
		}
		for _, r := range g.rows {
			res := r.compare(all)
			results = append(results, res)
			t.row(res)
		}
	}
	fmt.Fprintf(stdout, "\n%.0f s. %v\n", time.Since(began).Seconds(), others)
	return results, nil
}

func (c config) plan() plan {
	p := plan{rounds: c.rounds, run: c.each, limit: time.Minute, seed: c.seed}
	if c.quick {
		p.rounds, p.few = 2, 500
	}
	return p
}

// write writes results as JSON.
func (c config) write(results []result, stdout io.Writer) error {
	b, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if c.json == "-" {
		_, err = stdout.Write(b)
		return err
	}
	return os.WriteFile(c.json, b, 0o644)
}

// profile starts a CPU profile into a file, if there is a name, and returns
// what ends it.
func profile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
