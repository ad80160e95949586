package messaging_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are those that readers start with.
var documents = []string{"README.md", "CONTRIBUTING.md"}

var goBlock = regexp.MustCompile("(?ms)^ *```go\n(.*?)^ *```$")

// TestDocumentedCodeIsTested checks that each block of Go in the documents is
// a piece of a test or of an example, apart from its indentation.
func TestDocumentedCodeIsTested(t *testing.T) {
	tested := testedCode(t)
	for _, document := range documents {
		blocks := goBlock.FindAllStringSubmatch(read(t, document), -1)
		for _, block := range blocks {
			if code := "\n" + flatten(block[1]); !strings.Contains(tested, code) {
				t.Errorf("this block of %s is in no *_test.go and no file of examples:\n%s", document, block[1])
			}
		}
		if document == "README.md" && len(blocks) == 0 {
			t.Error("README.md has no blocks of Go")
		}
	}
}

// testedCode returns all tests and examples, flattened.
func testedCode(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != "." && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		path = filepath.ToSlash(path)
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "examples/") && strings.HasSuffix(path, ".go") {
			code.WriteString(flatten(read(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return code.String()
}

// flatten drops the indentation of each line.
func flatten(code string) string {
	var flat strings.Builder
	for line := range strings.Lines(code) {
		flat.WriteString(strings.TrimLeft(line, " \t"))
	}
	return flat.String()
}

// TestReadmeExplainsEveryError checks its table against the errors that the
// package exports.
func TestReadmeExplainsEveryError(t *testing.T) {
	readme := read(t, "README.md")
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range exportedError.FindAllStringSubmatch(read(t, file), -1) {
			found++
			if !strings.Contains(readme, "\n| `"+match[1]+"` |") {
				t.Errorf("the README's table of errors has no row for %s", match[1])
			}
		}
	}
	if found < 6 {
		t.Errorf("found only %d errors in the package", found)
	}
}

var exportedError = regexp.MustCompile(`(?m)^(?:var |\t)(Err[A-Z]\w*) = errors\.New`)

var link = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)

// TestDocumentsLinkToWhatIsThere checks the links within the repository.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	for _, document := range documents {
		for _, match := range link.FindAllStringSubmatch(read(t, document), -1) {
			if target := match[1]; !strings.Contains(target, "://") {
				if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
					t.Errorf("%s links to %s: %v", document, target, err)
				}
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
