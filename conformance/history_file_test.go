package conformance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// generated returns a history of the scenario load with about that many
// events, all of a broker that keeps its promises.
func generated(events int) *History {
	h := &History{
		Target: "generated", Flavour: ForQueue, Scenario: "load", Fault: "none", Seed: 1, Started: time.Unix(0, 0).UTC(),
		Sessions: []Session{
			{Role: RolePublisher, Channel: "c"},
			{Role: RoleQueue, Channel: "c", Window: 256, Lease: 30 * time.Second, Attempts: true, ExactAttempts: true},
			{Role: RoleQueue, Channel: "c", Window: 256, Lease: 30 * time.Second, Attempts: true, ExactAttempts: true},
		},
	}
	call := 0
	add := func(es ...Event) {
		for _, e := range es {
			e.At = time.Duration(len(h.Events)) * time.Microsecond
			h.Events = append(h.Events, e)
		}
	}
	do := func(e Event) Event {
		call++
		e.Call, e.Phase = call, Invoke
		add(e)
		e.Phase = OK
		return e
	}
	for s := range h.Sessions {
		add(do(Event{Kind: Open, Session: s + 1}))
	}
	ack := func(n int) { add(do(Event{Kind: Ack, Session: 2 + n%2, Delivery: n})) }
	n := 1
	for ; len(h.Events) < events; n++ {
		h.Messages = append(h.Messages, Message{Producer: 1, Counter: n, Channel: "c", ID: fmt.Sprint("id-", n), Size: 10})
		consumer := 2 + n%2
		add(do(Event{Kind: Publish, Session: 1, Message: n}))
		received := do(Event{Kind: Receive, Session: consumer, Max: 1})
		add(received, Event{
			Kind: Deliver, Phase: OK, Call: received.Call, Session: consumer, Message: n, Delivery: n, Lease: n, Attempt: 1,
			ID: fmt.Sprint("id-", n), Published: h.Started.Add(time.Duration(len(h.Events)) * time.Microsecond),
		})
		if n > 1 {
			ack(n - 1) // so that the other consumer holds something when one gets more
		}
	}
	if n > 1 {
		ack(n - 1)
	}
	for s := range h.Sessions {
		add(do(Event{Kind: Close, Session: s + 1}))
	}
	return h
}

// TestMillion checks that a million events are judged in seconds: the checks
// are linear.
func TestMillion(t *testing.T) {
	n := 1_000_000
	if testing.Short() || RaceEnabled {
		n = 100_000
	}
	h := generated(n)
	start := time.Now()
	report, err := Check(Claims{}, h)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("%d events judged by %d cells in %v", len(h.Events), len(report.Cells), took)
	if bound := 20 * time.Second; took > bound {
		t.Errorf("judging %d events took %v, want less than %v", len(h.Events), took, bound)
	}
	for _, c := range report.Cells {
		if c.Verdict == Violated {
			t.Errorf("%s accuses a history in which nothing is wrong: %s", c.Rule, c.Violations[0].Text)
		}
	}
}

func TestHistoryRoundTrip(t *testing.T) {
	h := generated(1000)
	h.Failure, h.FailureCode, h.Stalled, h.Facts = "it hung", Hung, time.Second, map[string]int64{"goroutines": -3}
	h.Seed = math.MaxUint64
	h.Timing = Timing{Operation: time.Second}
	h.Messages[0].Key, h.Messages[1].Key, h.Messages[2].Key = "\xff\x00", "\x00plain", "<\u2028>\n"
	h.Events[20].Text = strings.Repeat("\xfe", 1000)
	h.Events[20].Published = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	for _, name := range []string{"h.jsonl", "h.jsonl.gz"} {
		file := filepath.Join(t.TempDir(), name)
		if err := SaveHistory(file, h); err != nil {
			t.Fatal(err)
		}
		got, err := LoadHistory(file)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, h) {
			t.Errorf("%s: what was read is not what was saved", name)
		}
	}
	if h.Messages[0].Key != "\xff\x00" {
		t.Error("saving changed the history")
	}
}

func TestHistoryTimes(t *testing.T) {
	h := generated(50)
	h.Events[9].Published = time.Unix(9223372036825426800, 0).In(time.FixedZone("odd", 25*3600)) // the year 292277026596
	var b bytes.Buffer
	if err := WriteHistory(&b, h); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadHistory(&b); err != nil {
		t.Fatal(err)
	}
}

// written returns h as it is saved.
func written(t testing.TB, h *History) string {
	var b strings.Builder
	if err := WriteHistory(&b, h); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

// TestBadHistories reads files that are no history, or lie.
func TestBadHistories(t *testing.T) {
	good := written(t, generated(50))
	lines := strings.SplitAfter(good, "\n")
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in a history", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	bomb := zipped(strings.Repeat(" ", 4<<20))
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "empty"},
		"binary":            {"\x00\x01\x02", "not the header"},
		"other json":        {`{"a":1}`, "not the header"},
		"other version":     {replace(`"version":1`, `"version":2`), "of version 2"},
		"truncated":         {good[:len(good)/2], "line"},
		"without its end":   {strings.Join(lines[:len(lines)-3], ""), "truncated"},
		"last line cut":     {good[:len(good)-3], "unexpected EOF"},
		"too long":          {good + lines[len(lines)-2], "more lines"},
		"garbage after":     {good + "x", "more lines"},
		"swapped":           {lines[0] + lines[len(lines)-2] + strings.Join(lines[1:len(lines)-2], ""), "not what the header promises"},
		"missing message":   {replace(`"messages":`, `"messages":1`), "not what the header promises"},
		"negative count":    {replace(`"events":`, `"events":-`), "line 1"},
		"huge count":        {replace(`"events":`, `"events":99999999`), "at most"},
		"unknown field":     {replace(`"kind":"open"`, `"kind":"open","evil":1`), "evil"},
		"unknown kind":      {replace(`"kind":"open"`, `"kind":"opne"`), "does not know"},
		"unknown phase":     {replace(`"phase":"invoke"`, `"phase":"x"`), "does not know"},
		"session of none":   {replace(`"session":2`, `"session":9`), "session 9 of 3"},
		"message of none":   {replace(`"message":1,`, `"message":99,`), "message 99 of"},
		"negative message":  {replace(`"message":1,`, `"message":-1,`), "message -1 of"},
		"delivery twice":    {replace(`"delivery":2,`, `"delivery":1,`), "delivery 1 to session"},
		"delivery too soon": {replace(`"delivery":1,`, `"delivery":7,`), "delivery 7"},
		"time runs back":    {replace(`"at":7000`, `"at":1`), "before the event"},
		"huge number":       {replace(`"at":7000`, `"at":1e300`), "line"},
		"no flavour":        {replace(`"flavour":"queue"`, `"flavour":"both"`), "neither"},
		"endless line":      {lines[0] + strings.Repeat("x", 2<<20), "longer than"},
		"bad base64":        {replace(`"id":"id-1"`, `"id":"\u0000?"`), "base64"},
		"bad gzip":          {"\x1f\x8bxxxx", "read history"},
		"cut gzip":          {zipped(good)[:200], "EOF"},
		"gzip checksum":     {corrupt(zipped(good)), "checksum"},
		"gzip bomb":         {bomb, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := ReadHistory(strings.NewReader(c.text))
			if err == nil {
				t.Fatalf("read it, with %d events", len(h.Events))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %q, want one with %q", err, c.want)
			}
		})
	}
}

func corrupt(zip string) string {
	b := []byte(zip)
	b[len(b)-8] ^= 0xff
	return string(b)
}

func TestLoadHistoryNames(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bad")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, "none"), dir, file} {
		if _, err := LoadHistory(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("load %s: %v, want an error that names the file", name, err)
		}
	}
	if err := SaveHistory(filepath.Join(dir, "no", "such"), generated(10)); err == nil {
		t.Error("saved into a folder that is not there")
	}
}

// TestCheckRefuses gives Check what it cannot judge.
func TestCheckRefuses(t *testing.T) {
	with := func(f func(*History)) *History { h := generated(20); f(h); return h }
	for name, c := range map[string]struct {
		claims Claims
		h      []*History
	}{
		"nothing":            {},
		"unknown scenario":   {h: []*History{with(func(h *History) { h.Scenario = "x" })}},
		"unknown fault":      {h: []*History{with(func(h *History) { h.Fault = "F99" })}},
		"wrong flavour":      {h: []*History{with(func(h *History) { h.Flavour = 5 })}},
		"two targets":        {h: []*History{generated(9), with(func(h *History) { h.Target = "x" })}},
		"a lie":              {h: []*History{with(func(h *History) { h.Events[3].Session = 50 })}},
		"no such rule":       {claims: Claims{Rules: []string{"P99"}}, h: []*History{generated(9)}},
		"unclaimed core":     {claims: Claims{Unclaimed: map[string]string{"P01": "we lose some"}}, h: []*History{generated(9)}},
		"unclaimed no rule":  {claims: Claims{Unclaimed: map[string]string{"X": "x"}}, h: []*History{generated(9)}},
		"deviates from none": {claims: Claims{Deviations: map[string]string{"X": "x"}}, h: []*History{generated(9)}},
		"no reason":          {claims: Claims{Deviations: map[string]string{"P01": " "}}, h: []*History{generated(9)}},
	} {
		if r, err := Check(c.claims, c.h...); err == nil {
			t.Errorf("%s: judged: %+v", name, r)
		}
	}
}

// TestCheckVerdicts changes a history and looks at P01.
func TestCheckVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*History)
		claims Claims
		want   Verdict
	}{
		"held":          {want: Held},
		"overflow":      {change: func(h *History) { h.Overflow = true }, want: Inconclusive},
		"not ended":     {change: func(h *History) { h.Failure, h.FailureCode = "no port", Other }, want: Inconclusive},
		"hung":          {change: func(h *History) { h.Failure, h.FailureCode = "hung", Hung }, want: Violated},
		"lost":          {change: func(h *History) { h.Events = h.Events[:len(h.Events)-10] }, want: Violated},
		"little":        {change: func(h *History) { *h = *generated(100) }, want: Inconclusive},
		"little enough": {change: func(h *History) { *h = *generated(100) }, claims: Claims{Most: 10}, want: Held},
		"deviation": {
			change: func(h *History) { h.Events = h.Events[:len(h.Events)-10] },
			claims: Claims{Deviations: map[string]string{"P01": "loses"}}, want: Deviation,
		},
		"deviation gone": {claims: Claims{Deviations: map[string]string{"P01": "loses"}}, want: Inconclusive},
	} {
		h := generated(3600 * 7)
		if c.change != nil {
			c.change(h)
		}
		c.claims.Rules = []string{"P01"}
		r, err := Check(c.claims, h)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := r.Row("P01"); got != c.want {
			t.Errorf("%s: P01 is %s, want %s: %v", name, got, c.want, r.Cells[0].Reasons)
		}
	}
}

// FuzzReadHistory looks for a file that panics the reader or a rule, and for
// one that does not survive being written and read again.
func FuzzReadHistory(f *testing.F) {
	small := generated(30)
	f.Add([]byte(written(f, small)))
	f.Add([]byte(zipped(written(f, small))))
	f.Add([]byte(`{"format":"messaging conformance history","version":1,"flavour":"stream","scenario":"load","fault":"none"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHistory(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadHistory(strings.NewReader(written(t, h)))
		if err != nil {
			t.Fatalf("what was read and written cannot be read: %v", err)
		}
		if len(again.Events) != len(h.Events) || len(again.Messages) != len(h.Messages) {
			t.Fatal("what was read and written is another history")
		}
		// Whatever the scenario, every rule looks at it.
		view := newView(h)
		for _, rule := range rulesOf(ForBoth) {
			if f := find(rule, view); strings.Contains(fmt.Sprint(f.Unsure), "panicked") {
				t.Fatalf("%s: %v", rule.ID, f.Unsure)
			}
		}
	})
}
