package conformance

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Report is what the suite found out about a target.
type Report struct {
	Target  string  `json:"target"`
	Flavour Flavour `json:"flavour"`
	Seed    uint64  `json:"seed,string"` // 0 where histories were checked
	Cells   []Cell  `json:"cells"`       // in the order of the rules and their faults
}

// Cell is a rule under a fault.
type Cell struct {
	Rule       string   `json:"rule"`
	Fault      string   `json:"fault"`
	Verdict    Verdict  `json:"verdict"`
	Evidence   Evidence `json:"evidence,omitempty"` // counted
	Needs      Evidence `json:"needs,omitempty"`    // for held
	Reasons    []string `json:"reasons,omitempty"`  // of every verdict but held
	Violations []Shown  `json:"violations,omitempty"`
}

// Row returns the verdict of a rule: the worst of its cells. "" is a rule
// that was not checked.
func (r *Report) Row(rule string) Verdict {
	v := Verdict("")
	for i := range r.Cells {
		if r.Cells[i].Rule == rule {
			v = worseOr(v, r.Cells[i].Verdict)
		}
	}
	return v
}

// row returns the cells of a rule.
func (r *Report) row(rule string) []*Cell {
	var cells []*Cell
	for i := range r.Cells {
		if r.Cells[i].Rule == rule {
			cells = append(cells, &r.Cells[i])
		}
	}
	return cells
}

// rules returns the ids of the report's rules, in their order.
func (r *Report) rules() []string {
	var ids []string
	for i := range r.Cells {
		if id := r.Cells[i].Rule; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// counts returns how many rules have each verdict.
func (r *Report) counts() map[Verdict]int {
	n := map[Verdict]int{}
	for _, id := range r.rules() {
		n[r.Row(id)]++
	}
	return n
}

// Bound returns the n for which a fault that strikes more often than once in
// n would have shown in the cell with a probability of 99 %, judged by what it
// counted most of among what it needs: the messages that were exposed. It is
// 0 where the cell is not held, or that says little.
func (c *Cell) Bound() int {
	if c.Verdict != Held {
		return 0
	}
	exposed := 0
	for name := range c.Needs {
		exposed = max(exposed, c.Evidence[name])
	}
	return onceIn(exposed)
}

// onceIn returns the n for which a fault of 1 in n would have shown among as
// many exposed messages, with 99 %: (1-1/n)^exposed is 1 % where n is
// exposed/ln(100). Below 10 it is 0: no rate.
func onceIn(exposed int) int {
	n := int(float64(exposed) / math.Log(100))
	if n < 10 {
		return 0
	}
	return n
}

// boundOf returns the lowest bound of cells that are all held, or 0.
func boundOf(cells []*Cell) int {
	lowest := 0
	for _, c := range cells {
		if c.Verdict != Held && c.Verdict != NotApplicable {
			return 0
		}
		if n := c.Bound(); n > 0 && (lowest == 0 || n < lowest) {
			lowest = n
		}
	}
	return lowest
}

// evidenceOf returns the names of a cell's evidence, what it needs first.
func (c *Cell) evidenceOf() []string {
	names := slices.Sorted(maps.Keys(c.Needs))
	for _, name := range slices.Sorted(maps.Keys(c.Evidence)) {
		if _, needed := c.Needs[name]; !needed {
			names = append(names, name)
		}
	}
	return names
}

const (
	reportFormat  = "messaging conformance report"
	reportVersion = 1
	reportSuffix  = ".conformance.json"
	mostReport    = 256 << 20
)

type reportFile struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Reports []*Report `json:"reports"`
}

// WriteJSON writes reports to be read by [ReadReports], and by programs.
func WriteJSON(w io.Writer, reports ...*Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(reportFile{reportFormat, reportVersion, reports}); err != nil {
		return fmt.Errorf("conformance: write report: %w", err)
	}
	return nil
}

// ReadReports reads what [WriteJSON] wrote. What is cut or of another version
// is an error.
func ReadReports(r io.Reader) ([]*Report, error) {
	text, err := io.ReadAll(io.LimitReader(r, mostReport))
	if err != nil {
		return nil, fmt.Errorf("conformance: read report: %w", err)
	}
	var kind struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	switch err := json.Unmarshal(text, &kind); {
	case err != nil:
		return nil, fmt.Errorf("conformance: read report: %w", err)
	case kind.Format != reportFormat:
		return nil, errors.New("conformance: read report: this is not a report")
	case kind.Version != reportVersion:
		return nil, fmt.Errorf("conformance: read report: it is of version %d, and this is a reader of version %d", kind.Version, reportVersion)
	}
	var f reportFile
	if err := strict(text, &f); err != nil {
		return nil, fmt.Errorf("conformance: read report: %w", err)
	}
	for _, report := range f.Reports {
		if report == nil || report.Flavour != ForQueue && report.Flavour != ForStream {
			return nil, errors.New("conformance: read report: one is of neither a queue nor a stream")
		}
		for i := range report.Cells {
			if c := &report.Cells[i]; !slices.Contains(verdicts(), c.Verdict) {
				return nil, fmt.Errorf("conformance: read report: %s has the verdict %q, which is none", c.Rule, c.Verdict)
			}
		}
	}
	return f.Reports, nil
}

// Save writes the report into a folder, which it makes, as JSON, and then
// writes index.html and report.md there from it and all reports that are in
// the folder already: the tests of several backends may save into one.
func (r *Report) Save(dir string) error {
	if err := r.save(dir); err != nil {
		return fmt.Errorf("conformance: save report: %w", err)
	}
	return nil
}

func (r *Report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, slug(r.Target)+"-"+r.Flavour.String()+reportSuffix)
	if err := replaceFile(name, func(w io.Writer) error { return WriteJSON(w, r) }); err != nil {
		return err
	}
	// Another test may save at the same time: the last to write the page has
	// to have seen all.
	for seen := -1; ; {
		reports, err := loadReports(dir)
		if err != nil || len(reports) == seen {
			return err
		}
		seen = len(reports)
		err = errors.Join(
			replaceFile(filepath.Join(dir, "index.html"), func(w io.Writer) error { return WriteHTML(w, reports...) }),
			replaceFile(filepath.Join(dir, "report.md"), func(w io.Writer) error { return WriteMarkdown(w, reports...) }),
		)
		if err != nil {
			return err
		}
	}
}

// loadReports reads all reports of a folder.
func loadReports(dir string) ([]*Report, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+reportSuffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []*Report
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		reports, err := ReadReports(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, reports...)
	}
	return all, nil
}

// slug makes a file's name of a text.
func slug(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, s)
	for strings.Contains(clean, "--") {
		clean = strings.ReplaceAll(clean, "--", "-")
	}
	return cmp.Or(strings.Trim(clip(clean, 80), "-."), "target")
}
