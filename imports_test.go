package messaging_test

import (
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fa5182d2/messaging"

// TestImports checks what the packages import that a program gets without
// asking for a product: outside of their tests the standard library and each
// other. Only a backend brings a client.
func TestImports(t *testing.T) {
	packages := append(packagesBelow(t, "conformance"), ".", "memory")
	for i := 0; i < len(packages); i++ { // grows by what they import
		for _, path := range importsOf(t, packages[i]) {
			dir, ours := strings.CutPrefix(path, module)
			dir = filepath.Clean(filepath.FromSlash("./" + dir))
			switch {
			case !ours && isStandard(path), ours && slices.Contains(packages, dir):
			case ours && strings.HasPrefix(dir, "internal"+string(filepath.Separator)):
				packages = append(packages, dir)
			default:
				t.Errorf("package %s imports %s: want the standard library or this module's own", packages[i], path)
			}
		}
	}
}

// TestClients checks that a backend imports the client of its own product, and
// nothing else that is not ours or the standard library's.
func TestClients(t *testing.T) {
	for backend, client := range map[string]string{
		"kafka":    "github.com/segmentio/kafka-go",
		"rabbitmq": "github.com/rabbitmq/amqp091-go",
	} {
		uses := false
		for _, path := range importsOf(t, backend) {
			switch {
			case path == client || strings.HasPrefix(path, client+"/"):
				uses = true
			case isStandard(path), path == module, strings.HasPrefix(path, module+"/internal/"):
			default:
				t.Errorf("package %s imports %s: want the standard library, this module's own, or %s", backend, path, client)
			}
		}
		if !uses {
			t.Errorf("package %s does not import %s", backend, client)
		}
	}
}

// packagesBelow returns the folders with Go files in and below dir.
// conformance/brokers starts servers and may import what it needs for it.
func packagesBelow(t *testing.T, dir string) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || filepath.ToSlash(path) == "conformance/brokers"):
			return filepath.SkipDir
		case !entry.IsDir() && strings.HasSuffix(path, ".go") && !slices.Contains(dirs, filepath.Dir(path)):
			dirs = append(dirs, filepath.Dir(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// importsOf returns what the files of a package import that are no tests,
// those for other systems included.
func importsOf(t *testing.T, dir string) []string {
	t.Helper()
	everything := build.Default
	everything.UseAllFiles = true
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	p, err := everything.ImportDir(filepath.Join(wd, dir), 0)
	if err != nil {
		t.Fatal(err)
	}
	return p.Imports
}

// isStandard says whether a path is one of the standard library: those of
// others begin with a domain.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
