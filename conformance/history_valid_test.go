package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestHistoryWords checks that the reader of histories knows every kind,
// phase, code and role that history.go declares.
func TestHistoryWords(t *testing.T) {
	known := map[string][]string{}
	for _, k := range kinds() {
		known["Kind"] = append(known["Kind"], string(k))
	}
	for _, p := range phases() {
		known["Phase"] = append(known["Phase"], string(p))
	}
	for _, c := range codes() {
		known["Code"] = append(known["Code"], string(c))
	}
	for _, r := range roles() {
		known["Role"] = append(known["Role"], string(r))
	}
	file, err := parser.ParseFile(token.NewFileSet(), "history.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		typ, _ := spec.Type.(*ast.Ident)
		lit, _ := spec.Values[0].(*ast.BasicLit)
		if typ == nil || lit == nil {
			return true
		}
		if word, _ := strconv.Unquote(lit.Value); !slices.Contains(known[typ.Name], word) {
			t.Errorf("%s %s = %q is not in the list of history_valid.go", typ.Name, spec.Names[0], word)
		}
		return true
	})
}

// TestHistoryTags checks that what is saved has a short name, and is left out
// where it is zero: a history has millions of events.
func TestHistoryTags(t *testing.T) {
	for _, v := range []any{History{}, Message{}, Session{}, Consumption{}, Event{}, Timing{}} {
		for f := range reflect.TypeOf(v).Fields() {
			if tag := f.Tag.Get("json"); tag != "-" && !strings.HasSuffix(tag, ",omitzero") {
				t.Errorf("%T.%s has the tag %q, want json:\"name,omitzero\"", v, f.Name, tag)
			}
		}
	}
}
