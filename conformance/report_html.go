package conformance

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

//go:embed report.html
var reportPage string

// WriteHTML writes reports as one page: targets beside each other, what broke
// with a drawing of it. The page needs nothing else, and no script.
func WriteHTML(w io.Writer, reports ...*Report) error {
	t, err := template.New("report").Parse(reportPage)
	if err == nil {
		err = t.Execute(w, newPage(reports))
	}
	if err != nil {
		return fmt.Errorf("conformance: write report: %w", err)
	}
	return nil
}

// page is what the template shows.
type page struct {
	Title    string
	Verdicts []Verdict // the legend
	Summary  []pageSummary
	Tables   []pageTable
	Rules    []pageRule
}

type pageSummary struct {
	Target, Flavour, Seed string
	Worst                 Verdict
	Counts                []pageCount
	Rules                 string
}

type pageCount struct {
	Verdict Verdict
	N       int
	Percent float64
}

type pageTable struct {
	Title   string
	Columns []string
	Areas   []pageArea
}

type pageArea struct {
	Title string
	Rows  []pageRow
}

type pageRow struct {
	ID, Name, Anchor, Sentence string
	Core                       bool
	Cells                      []pageCell
}

// pageCell is a rule of a target in the table.
type pageCell struct {
	Verdict Verdict
	Bound   int
	Chips   []pageChip
}

type pageChip struct {
	Fault   string
	Verdict Verdict
	Title   string
}

// pageRule is a rule below the tables.
type pageRule struct {
	ID, Name, Anchor, Sentence string
	Worst                      Verdict
	Cells                      []ruleCell
}

type ruleCell struct {
	Target, Fault string
	Span          int // of its target's cells; 0 where it is not the first
	Verdict       Verdict
	Evidence      []evidenceBar
	Reasons       []string
	Shown         []shownViolation
	More          int
}

type evidenceBar struct {
	Name           string
	Counted, Needs int
	Percent        int
	Bound          int
}

type shownViolation struct {
	Shown
	Timeline *timeline
	Lines    []shownLine
}

type shownLine struct {
	Key  bool
	Text string
}

// Class is a verdict's name as CSS has it.
func (v Verdict) Class() string { return strings.ReplaceAll(string(v), " ", "-") }

// Glyph tells verdicts apart where colours do not.
func (v Verdict) Glyph() string {
	return map[Verdict]string{Held: "✓", Violated: "✗", Inconclusive: "?", NotClaimed: "○", NotApplicable: "–", Deviation: "≈"}[v]
}

func newPage(reports []*Report) *page {
	p := &page{Title: "Conformance", Verdicts: verdicts()}
	for _, r := range reports {
		p.Summary = append(p.Summary, summarize(r))
	}
	for _, f := range []Flavour{ForQueue, ForStream} {
		of := slices.DeleteFunc(slices.Clone(reports), func(r *Report) bool { return r.Flavour != f })
		if len(of) > 0 {
			p.Tables = append(p.Tables, newTable(f, of))
		}
	}
	for _, id := range rulesIn(reports) {
		p.Rules = append(p.Rules, newPageRule(id, reports))
	}
	return p
}

func summarize(r *Report) pageSummary {
	s := pageSummary{Target: printable(r.Target), Flavour: r.Flavour.String(), Rules: plural(len(r.rules()), "rule")}
	if r.Seed != 0 {
		s.Seed = fmt.Sprint(r.Seed)
	}
	n := r.counts()
	for _, v := range verdicts() {
		if n[v] > 0 {
			s.Counts = append(s.Counts, pageCount{v, n[v], 100 * float64(n[v]) / float64(len(r.rules()))})
			s.Worst = v
		}
	}
	return s
}

// plural is n things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func newTable(f Flavour, reports []*Report) pageTable {
	t := pageTable{Title: map[Flavour]string{ForQueue: "Queues", ForStream: "Streams"}[f]}
	for _, r := range reports {
		t.Columns = append(t.Columns, printable(r.Target))
	}
	ids := rulesIn(reports)
	for _, a := range areas() {
		area := pageArea{Title: a.title}
		for _, id := range ids {
			if strings.HasPrefix(id, a.letter) {
				area.Rows = append(area.Rows, newRow(id, reports))
			}
		}
		if len(area.Rows) > 0 {
			t.Areas = append(t.Areas, area)
		}
	}
	return t
}

func newRow(id string, reports []*Report) pageRow {
	row := pageRow{ID: printable(id), Anchor: "rule-" + slug(id)}
	if rule := ruleOf(id); rule != nil {
		row.Name, row.Sentence, row.Core = rule.Name, rule.Sentence, rule.Core
	}
	for _, r := range reports {
		cell := pageCell{Verdict: r.Row(id), Bound: boundOf(r.row(id))}
		for _, c := range r.row(id) {
			cell.Chips = append(cell.Chips, pageChip{printable(c.Fault), c.Verdict, chipTitle(c)})
		}
		row.Cells = append(row.Cells, cell)
	}
	return row
}

func chipTitle(c *Cell) string {
	parts := []string{faultTitle(c.Fault) + ": " + string(c.Verdict)}
	for _, name := range c.evidenceOf() {
		parts = append(parts, fmt.Sprintf("%s %d", printable(name), c.Evidence[name]))
	}
	for _, reason := range c.Reasons {
		parts = append(parts, printable(reason))
	}
	return strings.Join(parts, "\n")
}

// faultTitle names a fault and says what it is.
func faultTitle(id string) string {
	if name := faultName(id); name != "" && id != "none" {
		return id + " " + name
	}
	return printable(id)
}

func newPageRule(id string, reports []*Report) pageRule {
	p := pageRule{ID: printable(id), Anchor: "rule-" + slug(id)}
	if rule := ruleOf(id); rule != nil {
		p.Name, p.Sentence = rule.Name, rule.Sentence
	}
	for _, r := range reports {
		cells := r.row(id)
		for i, c := range cells {
			p.Worst = worseOr(p.Worst, c.Verdict)
			p.Cells = append(p.Cells, newRuleCell(r, c))
			if i == 0 {
				p.Cells[len(p.Cells)-1].Span = len(cells)
			}
		}
	}
	return p
}

func newRuleCell(r *Report, c *Cell) ruleCell {
	cell := ruleCell{Target: fmt.Sprintf("%s, %v", printable(r.Target), r.Flavour), Fault: faultTitle(c.Fault), Verdict: c.Verdict}
	for _, name := range c.evidenceOf() {
		e := evidenceBar{Name: printable(name), Counted: c.Evidence[name], Needs: c.Needs[name], Percent: 100}
		if e.Needs > 0 {
			e.Percent = max(0, min(100, int(100*float64(e.Counted)/float64(e.Needs))))
			if c.Verdict == Held {
				e.Bound = onceIn(e.Counted)
			}
		}
		cell.Evidence = append(cell.Evidence, e)
	}
	for _, reason := range c.Reasons {
		cell.Reasons = append(cell.Reasons, printable(reason))
	}
	for i := range c.Violations {
		if i == deeply {
			cell.More = max(c.Evidence["violations"], len(c.Violations)) - i
			break
		}
		cell.Shown = append(cell.Shown, newShown(&c.Violations[i]))
	}
	return cell
}

func newShown(s *Shown) shownViolation {
	v := shownViolation{Shown: *s, Timeline: draw(s)}
	v.Text, v.Scenario = printable(s.Text), printable(s.Scenario)
	for _, line := range s.Excerpt {
		v.Lines = append(v.Lines, shownLine{strings.HasPrefix(line, ">"), printable(line)})
	}
	return v
}
