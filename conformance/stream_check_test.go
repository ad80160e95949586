package conformance

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/memory"
)

// streamHistory records a run of a scenario on memory.
func streamHistory(t *testing.T, name string) *History {
	t.Helper()
	s, err := newSuite(ForStream, func() *Target {
		b := &memory.Backend{}
		return &Target{
			Name: "memory", Backend: b, URL: func(channel string) string { return "mem://" + channel }, Virtual: true,
			Hooks: Hooks{Crash: b.Crash, Freeze: b.Freeze},
		}
	}, &Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range streamScenarios() {
		if sc.name == name {
			return s.record(context.Background(), sc)
		}
	}
	t.Fatalf("no scenario %q", name)
	return nil
}

// TestStreamChecksTakeAnything feeds the checks with histories of which parts
// are missing or changed places: what refers to nothing does not break them.
func TestStreamChecksTakeAnything(t *testing.T) {
	whole := streamHistory(t, "stream-handover")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		h := *whole
		h.Events = slices.DeleteFunc(slices.Clone(whole.Events), func(Event) bool { return rng.IntN(20) == 0 })
		for range 50 {
			i, k := rng.IntN(len(h.Events)), rng.IntN(len(h.Events))
			h.Events[i], h.Events[k] = h.Events[k], h.Events[i]
		}
		h.Events[rng.IntN(len(h.Events))] = Event{Kind: Receive, Phase: Fail, Code: Trimmed}
		v := newView(&h)
		for _, r := range streamRules() {
			r.check(v, &Finding{})
		}
	}
}

// TestStreamChecksAreLinear gives the checks a history of a million events.
func TestStreamChecksAreLinear(t *testing.T) {
	const partitions = 8
	messages := 200_000
	if RaceEnabled {
		messages = 20_000 // nothing runs at once here
	}
	h := &History{
		Target: "made up", Scenario: "stream-load", Fault: "none", Flavour: ForStream, Timing: Timing{}.withDefaults(),
		Sessions: []Session{{Role: RolePublisher, Channel: "c"}}, Facts: map[string]int64{factDrained: 1},
	}
	members := 1000 // one after the other
	call := 0
	add := func(e Event) { h.Events = append(h.Events, e) }
	for range members {
		h.Sessions = append(h.Sessions, Session{Role: RoleStream, Channel: "c", Group: "g"})
	}
	for n := range messages {
		session := 2 + n*members/messages
		if n%(messages/members) == 0 {
			call++
			add(Event{Kind: Open, Phase: Invoke, Call: call})
			add(Event{Kind: Open, Phase: OK, Call: call, Session: session})
		}
		h.Messages = append(h.Messages, Message{Producer: 1, Counter: n + 1, Channel: "c", Key: strconv.Itoa(n % partitions)})
		e := Event{Session: 1, Message: n + 1}
		both := func(kind Kind) {
			call++
			e.Kind, e.Phase, e.Call = kind, Invoke, call
			add(e)
			e.Phase = OK
			add(e)
		}
		both(Publish)
		e = Event{Session: session, Message: n + 1, Delivery: n + 1, Lease: session*partitions + n%partitions, Partition: strconv.Itoa(n % partitions), Offset: strconv.Itoa(n / partitions)}
		e.Kind, e.Phase = Deliver, OK
		add(e)
		both(Commit)
	}
	start := time.Now()
	v := newView(h)
	for _, r := range streamRules() {
		f := &Finding{}
		began := time.Now()
		r.check(v, f)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %v", r.ID, took)
		}
		for _, bad := range f.Violations {
			if r.ID != "S08" { // nobody is told here that it has lost a partition
				t.Errorf("%s: %s", r.ID, bad.Text)
				break
			}
		}
	}
	t.Logf("%d events in %v", len(h.Events), time.Since(start))
}
