package conformance_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fa5182d2/messaging/conformance"
)

var update = flag.Bool("update", false, "with -matrix: add what was killed to the kill matrix in the README")

const (
	readme      = "../README.md"
	matrixBegin = "<!-- kill matrix: go test ./conformance -run TestMutants -matrix -update -timeout 30m -->\n"
	matrixEnd   = "<!-- end of the kill matrix -->\n"
)

// kills are which rules killed which mutants.
type kills struct {
	lines
	mu sync.Mutex
	by map[string]map[string]bool // from a mutant to rules
}

func (k *kills) note(mutant, rule string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil {
		k.by = map[string]map[string]bool{}
	}
	if k.by[mutant] == nil {
		k.by[mutant] = map[string]bool{}
	}
	k.by[mutant][rule] = true
}

// matrixRow is one line of the kill matrix, but its last column.
func matrixRow(r conformance.Rule) string {
	var names []string
	for _, m := range conformance.Mutants() {
		if m.Breaks == r.ID {
			names = append(names, m.Name)
		}
	}
	return fmt.Sprintf("| %s %s | %s |", r.ID, r.Name, strings.Join(names, ", "))
}

// matrixRules are the rules, each once and in order.
func matrixRules() []conformance.Rule {
	rules := map[string]conformance.Rule{}
	for _, r := range conformance.Rules(conformance.ForBoth) {
		rules[r.ID] = *r
	}
	return slices.SortedFunc(maps.Values(rules), func(a, b conformance.Rule) int { return strings.Compare(order(a.ID), order(b.ID)) })
}

// order sorts rules as the catalogue does: P, Q, S, L, I.
func order(id string) string { return fmt.Sprint(strings.IndexByte("PQSELI", id[0])) + id }

// matrix returns the kill matrix as a table for the README, which adds what k
// knows to the table that was there.
func (k *kills) matrix(was string) string {
	known := map[string][]string{}
	for row := range strings.Lines(was) {
		if cells := strings.Split(row, "|"); len(cells) == 5 {
			id, _, _ := strings.Cut(strings.TrimSpace(cells[1]), " ")
			known[id] = strings.Fields(cells[3])
		}
	}
	var b strings.Builder
	b.WriteString("| rule | mutants, all of which it kills | some of which these kill, too |\n|---|---|---|\n")
	for _, r := range matrixRules() {
		others := map[string]bool{}
		for _, id := range known[r.ID] {
			others[id] = true
		}
		for _, m := range conformance.Mutants() {
			if m.Breaks == r.ID {
				maps.Copy(others, k.by[m.Name])
			}
		}
		delete(others, r.ID)
		ids := slices.SortedFunc(maps.Keys(others), func(a, b string) int { return strings.Compare(order(a), order(b)) })
		fmt.Fprintf(&b, "%s %s |\n", matrixRow(r), strings.Join(ids, " "))
	}
	return b.String()
}

// write puts the matrix into the README.
func (k *kills) write(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), matrixBegin)
	was, after, found := strings.Cut(rest, matrixEnd)
	if !ok || !found {
		t.Fatalf("%s has no place for the kill matrix", readme)
	}
	if err := os.WriteFile(readme, []byte(before+matrixBegin+k.matrix(was)+matrixEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMatrixIsFresh compares the README's kill matrix with the mutants that
// there are.
func TestMatrixIsFresh(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), matrixBegin)
	table, _, found := strings.Cut(rest, matrixEnd)
	if !ok || !found {
		t.Fatalf("%s has no kill matrix", readme)
	}
	const how = "renew it with: go test ./conformance -run TestMutants -matrix -update -timeout 30m"
	rows := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	rules := matrixRules()
	if len(rows) != len(rules)+2 {
		t.Fatalf("the README's kill matrix has %d rules of %d: %s", len(rows)-2, len(rules), how)
	}
	for i, r := range rules {
		if want := matrixRow(r); !strings.HasPrefix(rows[i+2], want) {
			t.Errorf("the README's kill matrix says %s\nwant %s\n%s", rows[i+2], want, how)
		}
	}
}
