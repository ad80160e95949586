package conformance_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/conformance"
)

// newRemote is a target behind a network.
func newRemote(t *testing.T, bug remoteBug) func() *conformance.Target {
	return func() *conformance.Target {
		server, err := startRemote()
		if err != nil {
			t.Fatal(err)
		}
		server.broken = bug
		network := conformance.NewNetwork()
		address, err := network.Address(server.address)
		if err != nil {
			t.Fatal(err)
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
	for _, f := range flavours(conformance.ForBoth) {
		for _, fault := range []string{"F1", "F2", "F4", "F5", "F7", "mixed"} {
			t.Run(fmt.Sprint(f, " ", fault), func(t *testing.T) {
				t.Parallel()
				r := stormy(t, f, "", &conformance.Options{Faults: []string{fault}, Scenarios: []string{"storm"}})
				for _, c := range r.Cells {
					if c.Verdict != conformance.Held {
						t.Errorf("%s under %s is %s%s", c.Rule, c.Fault, c.Verdict, reasons(r, c.Rule))
					}
				}
			})
		}
	}
}

func stormy(t *testing.T, f conformance.Flavour, bug remoteBug, o *conformance.Options) *conformance.Report {
	t.Helper()
	start := time.Now()
	o.Seed = max(o.Seed, 1)
	r, err := conformance.Run(t.Context(), f, newRemote(t, bug), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cells) == 0 {
		t.Fatal("nothing was judged")
	}
	t.Logf("%v, %v", time.Since(start).Round(time.Millisecond), r.Cells[0].Evidence)
	return r
}

// TestStormKills breaks the client in the ways in which clients are, and
// sees that storms show it.
func TestStormKills(t *testing.T) {
	for _, m := range []struct {
		bug    remoteBug
		fault  string
		breaks string
	}{
		{acksByNumber, "F1", "P01"},
		{acksOnReceipt, "F1", "P01"},
		{nilBeforeReply, "F1", "P01"},
		{failsWhenLost, "F1", "P04"},
		{freshIDs, "mixed", "P08a"},
		{staysAway, "F1", "L06"},
		{trustsSilence, "F2", "L06"},
		{forgetsHeld, "F5", "P01"},
	} {
		t.Run(string(m.bug), func(t *testing.T) {
			t.Parallel()
			o := &conformance.Options{Faults: []string{m.fault}, Scenarios: []string{"storm"}, Rules: []string{m.breaks}}
			var v conformance.Verdict
			for o.Seed = 1; o.Seed <= tries && v != conformance.Violated; o.Seed++ {
				v = stormy(t, conformance.ForQueue, m.bug, o).Row(m.breaks)
			}
			if v != conformance.Violated {
				t.Errorf("a client that %s: %s is %s", m.bug, m.breaks, v)
			}
		})
	}
}
