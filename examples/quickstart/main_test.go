package main

import (
	"bytes"

	"errors"
	"io"

	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(playVar) != "" {
		play()
	}
	goleak.VerifyTestMain(m)
}

// result is what a run said.
type result struct {
	status         int
	stdout, stderr string
}

// show runs the program in a bubble, where its pauses take no time.
func show(t *testing.T, p program, args ...string) (r result) {
	t.Helper()
	var stdout, stderr safeBuffer
	p.stdout, p.stderr = &stdout, &stderr
	if p.getenv == nil {
		p.getenv = func(string) string { return "" }
	}
	p.patience = 30 * time.Second
	synctest.Test(t, func(t *testing.T) {
		if p.backends == nil {
			p.backends = backends()
		}
		r.status = p.run(t.Context(), args)
	})
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r
}

// safeBuffer is a buffer that several goroutines may write to, as a file is.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (r result) mustBe(t *testing.T, status int, says ...string) {
	t.Helper()
	ok := r.status == status
	for _, s := range says {
		ok = ok && strings.Contains(r.stdout+r.stderr, s)
	}
	if !ok {
		t.Errorf("status %d, want %d, and to read %q in:\n%s%s", r.status, status, says, r.stdout, r.stderr)
	}
}

// numbers returns the numbers in the first line that starts with a text.
func (r result) numbers(t *testing.T, start string) (ns []int) {
	t.Helper()
	_, line, _ := strings.Cut("\n"+r.stdout, "\n"+start)
	line, _, _ = strings.Cut(line, "\n")
	for _, s := range regexp.MustCompile(`\d[\d,]*`).FindAllString(line, -1) {
		n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		ns = append(ns, n)
	}
	return ns
}

func TestWithNothingGiven(t *testing.T) {
	r := show(t, program{})
	r.mustBe(t, 0, "Go's API history", "mem://quickstart", "key          field 2", "dead letter  line 1, after 3 attempts", "compared     the same")
	sum := r.numbers(t, "in all")
	if len(sum) != 4 || sum[0] < enoughLines || sum[0] != sum[1]+sum[2]+sum[3] || sum[2] != 1 || sum[3] != 0 {
		t.Errorf("the sum does not add up: %v", sum)
	}
	var started, handled, failed int
	for _, name := range []string{"worker 1", "worker 2", "worker 3"} {
		ns := r.numbers(t, name)
		if len(ns) != 3 || ns[0] != ns[1]+ns[2] || ns[0] == 0 {
			t.Fatalf("%s: %v", name, ns)
		}
		if name == "worker 3" && (ns[2] < ns[0]/20 || ns[2] > ns[0]/5) {
			t.Errorf("worker 3 failed %d of %d, want about every tenth", ns[2], ns[0])
		}
		started, handled, failed = started+ns[0], handled+ns[1], failed+ns[2]
	}
	if together := r.numbers(t, "together"); together[0] != started || together[1] != handled || together[2] != failed {
		t.Errorf("the rows add up to %d, %d, %d, together says %v", started, handled, failed, together)
	}
	if handled != sum[1] {
		t.Errorf("%d handled in the table, %d in the sum", handled, sum[1])
	}
	for _, half := range []string{"followed", "replayed"} {
		if ns := r.numbers(t, half); ns[0] != sum[0] || ns[1] != sum[0] || ns[2] != 4 {
			t.Errorf("%s %v, want all of %d from 4 partitions", half, ns, sum[0])
		}
	}
}

func TestInputs(t *testing.T) {
	long := strings.Repeat("x", longest)
	for name, test := range map[string]struct {
		input string
		lines int // that become messages
		says  string
	}{
		"no end of line": {"a 1\nb 2", 2, "2 lines"},
		"one byte":       {"a", 1, "1 line of"},
		"crlf, blanks":   {"a\r\n\r\n\nb\r\n", 2, "4 lines of standard input, not published: 2 blank"},
		"junk":           {"\x00\xff\xfe\n\x80 \x81\n\xc3\x28", 3, "3 lines"},
		"long line":      {strings.Repeat("y", 3<<20) + " z\nshort", 2, "2 lines"},
		"too long":       {long + "x\nshort\n" + long + "x", 1, "not published: 2 above 16 MiB"},
		"too large":      {"short\n" + long, 1, "not published: 1 too large for the broker"},
		"only too large": {long, 0, "1 too large for the broker"},
		"only blank":     {"\n\n", 0, "not published: 2 blank"},
	} {
		t.Run(name, func(t *testing.T) {
			r := show(t, program{stdin: strings.NewReader(test.input)}, "-")
			r.mustBe(t, 0, test.says)
			if ns := r.numbers(t, "published"); ns[0] != test.lines {
				t.Errorf("%d published, want %d", ns[0], test.lines)
			}
			if ns := r.numbers(t, "replayed"); ns[0] != test.lines {
				t.Errorf("%d replayed, want %d", ns[0], test.lines)
			}
		})
	}
}

func TestFilesAndPipes(t *testing.T) {
	dir := t.TempDir()
	file, empty := filepath.Join(dir, "some.csv"), filepath.Join(dir, "empty")
	write(t, file, "id,who\n1,ann\n2,bob\n3,bob\n4,ann\n5,ann\n")
	write(t, empty, "")
	show(t, program{}, file).mustBe(t, 0, "6 lines of "+file, `key          field 2 of each line, such as "bob"`)
	show(t, program{}, "-key", "1", file).mustBe(t, 0, "key          field 1")
	show(t, program{}, empty).mustBe(t, exitFailed, empty+" is empty")
	show(t, program{}, dir).mustBe(t, exitFailed, "is a directory")
	show(t, program{}, filepath.Join(dir, "none")).mustBe(t, exitFailed, "no such file")

	piped := program{stdin: strings.NewReader("a\nb\n")}
	show(t, piped).mustBe(t, 0, "2 lines of standard input")
	nothing := program{stdin: strings.NewReader("")}
	show(t, nothing).mustBe(t, 0, "standard input is empty", "Go's API history")
	show(t, nothing, "-").mustBe(t, exitFailed, "standard input is empty: nothing to publish")
	broken := program{stdin: io.MultiReader(strings.NewReader("a\nb\n"), brokenReader{})}
	show(t, broken).mustBe(t, exitFailed, "published    2 messages", "read standard input: the disk is on fire")
}

func TestWithoutGo(t *testing.T) {
	t.Setenv("PATH", "")
	show(t, program{}).mustBe(t, 0, "made-up lines, since", "10,000 lines of made-up lines")
}

func TestArguments(t *testing.T) {
	in := func() program { return program{stdin: strings.NewReader("a\nb\n")} }
	show(t, in(), "-h").mustBe(t, 0, "usage:")
	show(t, in(), "-nope").mustBe(t, exitUsage, "usage:")
	show(t, in(), "-key", "-1").mustBe(t, exitUsage, "usage:")
	show(t, in(), "a", "b").mustBe(t, exitUsage, "at most one file")
	show(t, in(), "-url", "mem://x?nope=1").mustBe(t, exitFailed, `unknown url parameter "nope"`)
	show(t, in(), "-url", "bunny://h").mustBe(t, exitFailed, `no backend has scheme "bunny"; there are: `)
	show(t, in(), "-url", "mem://").mustBe(t, exitFailed, "names no channel")
	show(t, in(), "-url", "mem://x?subject=a.#").mustBe(t, exitFailed, "write it as %23")

	p := in()
	p.getenv = func(name string) string { return map[string]string{"MESSAGING_URL": "mem://from-env"}[name] }
	show(t, p).mustBe(t, 0, "to mem://from-env in")
	for _, bad := range []string{"nats://u:secret@h", "mem://u:secret@h", "mem://u:secret%zz@h", "mem://u:secret@h?a=%zz"} {
		r := show(t, in(), "-url", bad)
		r.mustBe(t, exitFailed)
		if strings.Contains(r.stdout+r.stderr, "secret") {
			t.Errorf("the password of %s is shown:\n%s%s", bad, r.stdout, r.stderr)
		}
	}
}

func TestHalvesThatAreNotThere(t *testing.T) {
	in := func(b messaging.Backends) program {
		return program{stdin: strings.NewReader("a\nb\n"), backends: b}
	}
	show(t, in(nil), "-url", "mem://x?kind=queue").mustBe(t, 0, "stream: left out", "in all       2 published")
	show(t, in(nil), "-url", "mem://x?kind=stream").mustBe(t, 0, "queue: left out", "followed     2 of 2")
	show(t, in(nil), "-url", "mem://x?group=mine&start=earliest").mustBe(t, 0, "in all       2 published", "replayed     2 of 2")
	mem := &memory.Backend{}
	show(t, in(messaging.Backends{"mem": mem, "log": onlyStreams{mem}}), "-url", "log://x").mustBe(t, 0, "queue: left out", "followed     2 of 2")
	mem = &memory.Backend{}
	show(t, in(messaging.Backends{"mem": mem, "write": onlyPublishers{mem}}), "-url", "write://x").mustBe(t, exitFailed, "unsupported")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errFire }

var errFire = errors.New("the disk is on fire")

type onlyStreams struct{ messaging.StreamBackend }
type onlyPublishers struct{ messaging.Backend }
