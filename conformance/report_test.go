package conformance_test

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fa5182d2/messaging/conformance"
)

var reportDir = flag.String("report", "", "write the report of memory, and of a few mutants beside it, into this folder")

// TestReport writes the report that -report asks for.
func TestReport(t *testing.T) {
	if *reportDir == "" {
		t.Skip("writes a report where -report=DIR says")
	}
	for _, f := range []conformance.Flavour{conformance.ForQueue, conformance.ForStream} {
		save(t, f, "memory", newMemory, nil)
		shown := 0
		for _, m := range conformance.Mutants() {
			if m.Flavour&f != 0 && m.Target != nil && shown < 3 {
				shown++
				save(t, f, "mutant "+m.Name, mutated(m), m.Consume)
			}
		}
	}
}

func save(t *testing.T, f conformance.Flavour, name string, newTarget func() *conformance.Target, consume conformance.ConsumeFunc) {
	r, err := conformance.Run(t.Context(), f, newTarget, &conformance.Options{Consume: consume})
	if err != nil {
		t.Fatal(err)
	}
	r.Target = name
	if err := r.Save(*reportDir); err != nil {
		t.Fatal(err)
	}
}

// hostile is a text that wants to be more.
const hostile = "<script>alert(1)</script>\"'`|*_[x](javascript:x) \u202e\x1b[2J\x00\xff </svg></style>\n# h"

// hostileReport has hostile texts wherever there are any.
func hostileReport() *conformance.Report {
	moment := func(n int, e conformance.Event) conformance.Moment {
		e.Partition, e.Offset, e.ID, e.Diff, e.Text = hostile, hostile, hostile, hostile, hostile
		return conformance.Moment{N: n, Key: n == 1, Subject: hostile, Event: e}
	}
	return &conformance.Report{Target: hostile, Flavour: conformance.ForQueue, Seed: 1 << 63, Cells: []conformance.Cell{
		{Rule: "P01", Fault: "none", Verdict: conformance.Held, Evidence: conformance.Evidence{"acknowledged": 4000}, Needs: conformance.Evidence{"acknowledged": 3500}},
		{
			Rule: hostile, Fault: hostile, Verdict: conformance.Violated, Evidence: conformance.Evidence{hostile: -1, "violations": 9}, Reasons: []string{hostile},
			Violations: []conformance.Shown{{
				Scenario: hostile, Text: hostile, Excerpt: []string{"> " + hostile, hostile, hostile, hostile, hostile},
				Lanes: []conformance.Lane{{Session: 0, Name: hostile}, {Session: 3, Name: hostile}},
				Moments: []conformance.Moment{
					moment(1, conformance.Event{Kind: conformance.Publish, Phase: conformance.Invoke, Call: 1, Session: 3}),
					moment(2, conformance.Event{Kind: conformance.Publish, Phase: conformance.Info, Call: 1, Session: 3, Code: "<b>", At: 1e9}),
					moment(3, conformance.Event{Kind: conformance.Deliver, Phase: conformance.OK, Session: 99, At: 1e9}),
					moment(4, conformance.Event{Kind: conformance.Kind(hostile), Phase: conformance.Phase(hostile), At: -5}),
					moment(5, conformance.Event{Kind: conformance.Fault}),
				},
			}, {Text: "without an excerpt"}},
		},
	}}
}

// TestReportHostile writes a report full of hostile texts.
func TestReportHostile(t *testing.T) {
	var page, text bytes.Buffer
	if err := conformance.WriteHTML(&page, hostileReport(), hostileReport()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "</svg></style>", "\u202e", "\x1b", "\x00", "href=\"javascript", "http://", "https://", "src="} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	wellFormed(t, page.String())
	if err := conformance.WriteMarkdown(&text, hostileReport()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\n<script", " [x](", "| <", "\u202e", "\x1b", "\x00", "\n# h"} {
		if strings.Contains(text.String(), bad) {
			t.Errorf("the markdown contains %q", bad)
		}
	}
}

// wellFormed checks that the elements of a page are closed in order.
func wellFormed(t *testing.T, page string) {
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	for {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestReportRoundTrip saves reports into a folder and reads them again.
func TestReportRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	a := hostileReport()
	a.Target = "A b/../c"
	b := &conformance.Report{Target: "memory", Flavour: conformance.ForStream, Cells: []conformance.Cell{{Rule: "S01", Fault: "F8", Verdict: conformance.NotApplicable}}}
	for _, r := range []*conformance.Report{a, b} {
		if err := r.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"index.html": "A b/../c", "report.md": "memory", "a-b-..-c-queue.conformance.json": "violated", "memory-stream.conformance.json": "not applicable",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}
	f, err := os.Open(filepath.Join(dir, "memory-stream.conformance.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := conformance.ReadReports(f)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], b) {
		t.Errorf("read %+v, %v, want what was saved", got, err)
	}
}

// TestBadReports reads what is no report.
func TestBadReports(t *testing.T) {
	var good bytes.Buffer
	if err := conformance.WriteJSON(&good, &conformance.Report{Target: "x", Flavour: conformance.ForQueue, Cells: []conformance.Cell{{Rule: "P01", Verdict: conformance.Held}}}); err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) string { return strings.Replace(good.String(), old, new, 1) }
	for name, text := range map[string]string{
		"empty":         "",
		"no json":       "x",
		"no report":     "{}",
		"other version": replace(`"version": 1`, `"version": 7`),
		"cut":           good.String()[:good.Len()-5],
		"no verdict":    replace(`"held"`, `"great"`),
		"no flavour":    replace(`"queue"`, `"topic"`),
		"both flavours": replace(`"queue"`, `"both"`),
		"null":          `{"format": "messaging conformance report", "version": 1, "reports": [null]}`,
		"more":          good.String() + "{}",
	} {
		if r, err := conformance.ReadReports(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read %v", name, r)
		}
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.conformance.json")
	if err := os.WriteFile(bad, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hostileReport().Save(dir); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("saved beside what is no report: %v", err)
	}
}
