package conformance_test

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/conformance"
)

// newRemote is a target behind a network.
func newRemote(bug remoteBug) func() *conformance.Target {
	return func() *conformance.Target {
		server, err := startRemote()
		if err != nil {
			panic(err) // the suite says so
		}
		server.broken = bug
		network := conformance.NewNetwork()
		address, err := network.Address(server.address)
		if err != nil {
			panic(err)
		}
		return &conformance.Target{
			Name:    "remote toy",
			Backend: &remote{address: address, broken: bug},
			URL:     func(channel string) string { return "remote://" + channel + "?dedup=5m" },
			Network: network,
			Timing:  conformance.Timing{Operation: 2 * time.Second, Reconnect: 8 * time.Second, Redelivery: time.Second, Handover: time.Second, Session: time.Second, Quiet: time.Second},
			Close: func() {
				network.Close()
				server.kill()
			},
			Hooks: conformance.Hooks{
				Pause:   server.pause,
				Restart: server.restart,
				MoveLeader: func(context.Context, string) (func(context.Context) error, error) {
					server.kill()
					return func(context.Context) error { return server.start() }, nil
				},
			},
		}
	}
}

// TestStorm judges the honest remote toy by storms, and by lost replies. The
// broker itself is proven elsewhere: this is about the network.
func TestStorm(t *testing.T) {
	var all []storm
	for _, f := range flavours(conformance.ForBoth) {
		for _, fault := range []string{"F1", "F2", "F4", "F5", "F7", "mixed"} {
			all = append(all, storm{name: fmt.Sprint(f, " ", fault), flavour: f, fault: fault, seeds: 1})
		}
	}
	rage(t, all)
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			for _, c := range s.blew(t).Cells {
				// How many calls fail is up to the moments of the cuts; the kills
				// show that enough of them do.
				few := c.Rule == "P04" && c.Verdict == conformance.Inconclusive
				if c.Verdict != conformance.Held && !few {
					t.Errorf("%s under %s is %s%s", c.Rule, c.Fault, c.Verdict, reasons(s.report, c.Rule))
				}
			}
		})
	}
}

// storm is a run of the remote toy.
type storm struct {
	name    string
	flavour conformance.Flavour
	fault   string
	bug     remoteBug
	breaks  string // by which alone it is judged
	seeds   uint64 // how many are tried until that is violated

	report *conformance.Report
	err    error
	took   time.Duration
}

// rage drives storms, six at a time: they wait most of the time.
func rage(t *testing.T, all []storm) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 6)
	for i := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			all[i].drive(t)
		})
	}
	wg.Wait()
}

func (s *storm) drive(t *testing.T) {
	start := time.Now()
	o := &conformance.Options{Faults: []string{s.fault}, Scenarios: []string{"storm"}}
	if s.breaks != "" {
		o.Rules = []string{s.breaks}
	}
	for o.Seed = 1; o.Seed <= s.seeds && s.err == nil; o.Seed++ {
		s.report, s.err = conformance.Run(t.Context(), s.flavour, newRemote(s.bug), o)
		if s.err == nil && s.report.Row(s.breaks) == conformance.Violated {
			break
		}
	}
	s.took = time.Since(start)
}

// blew returns the report of a storm that was driven.
func (s *storm) blew(t *testing.T) *conformance.Report {
	if s.err != nil {
		t.Fatal(s.err)
	}
	if len(s.report.Cells) == 0 {
		t.Fatal("nothing was judged")
	}
	t.Logf("%v, %v", s.took.Round(time.Millisecond), s.report.Cells[0].Evidence)
	return s.report
}

var storms = flag.Bool("storms", false, "storm also over those broken clients whose storm takes minutes: what they lose is waited for")

// TestStormKills breaks the client in the ways in which clients are, and
// sees that storms show it.
func TestStormKills(t *testing.T) {
	all := []storm{
		{bug: nilBeforeReply, fault: "F1", breaks: "P01"},
		{bug: failsWhenLost, fault: "F1", breaks: "P04"},
		{bug: freshIDs, fault: "mixed", breaks: "P08a"},
		{bug: staysAway, fault: "F1", breaks: "L06"},
		{bug: forgetsHeld, fault: "F5", breaks: "P01"},
	}
	if *storms {
		all = append(all,
			storm{bug: acksByNumber, fault: "F1", breaks: "P01"},
			storm{bug: acksOnReceipt, fault: "F1", breaks: "P01"},
			storm{bug: trustsSilence, fault: "F2", breaks: "L06"})
	}
	for i := range all {
		all[i].flavour, all[i].seeds = conformance.ForQueue, tries
	}
	rage(t, all)
	for _, s := range all {
		t.Run(string(s.bug), func(t *testing.T) {
			if v := s.blew(t).Row(s.breaks); v != conformance.Violated {
				t.Errorf("a client that %s: %s is %s", s.bug, s.breaks, v)
			}
		})
	}
}
