package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	longest    = 16 << 20 // bytes in a line; a longer one is skipped
	batchLines = 500
	batchBytes = 1 << 20
)

// line is one line of the input, without its end.
type line struct {
	number int // from 1
	text   []byte
}

// input is where the lines come from.
type input struct {
	name string
	io.Closer

	r *bufio.Reader
	lineCounts
}

// lineCounts says what became of the lines that were read.
type lineCounts struct {
	read    int
	blank   int // skipped: nothing in them
	tooLong int // skipped: above longest
}

// batch is some lines, and what became of all lines so far.
type batch struct {
	lines []line // may be none
	lineCounts
	err error // of reading, io.EOF at the end; there is no further batch
}

func newInput(name string, r io.ReadCloser) *input {
	return &input{name: name, Closer: r, r: bufio.NewReaderSize(r, batchBytes)}
}

// openInput opens the file, "-" for standard input. Without one it is standard
// input if something is piped into it, else Go's API history. It waits for the
// first byte.
func (p *program) openInput(ctx context.Context, file string) (*input, error) {
	var in *input
	switch {
	case file == "-" || file == "" && isPiped(p.stdin):
		fmt.Fprintln(p.stderr, "quickstart: reading lines from standard input")
		in = newInput("standard input", io.NopCloser(p.stdin))
	case file == "":
		return p.openAPI(), nil
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		in = newInput(file, f)
	}
	empty, err := in.isEmpty(ctx)
	switch {
	case empty && file == "":
		fmt.Fprintln(p.stderr, "quickstart: standard input is empty")
		return p.openAPI(), nil
	case empty:
		err = fmt.Errorf("%s is empty: nothing to publish", in.name)
	}
	if err != nil {
		in.Close()
	}
	return in, err
}

// isEmpty waits for the first byte and says whether there is none. When ctx
// ends first, the goroutine that waits is left behind: a read of a pipe cannot
// be stopped.
func (in *input) isEmpty(ctx context.Context) (bool, error) {
	peeked := make(chan error, 1)
	go func() {
		_, err := in.r.Peek(1)
		peeked <- err
	}()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case err := <-peeked:
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		return false, err
	}
}

// isPiped says whether somebody has put something other than a terminal or
// the null device there.
func isPiped(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return r != nil
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// batches reads the input until its end or ctx's. When ctx ends first, a read
// that is under way is left behind: one of a pipe cannot be stopped.
func (in *input) batches(ctx context.Context) <-chan batch {
	batches := make(chan batch)
	go func() {
		for {
			b := in.next()
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
			if b.err != nil {
				return
			}
		}
	}()
	return batches
}

// next waits for one line, and takes those with it that can be had without
// waiting, so that a slow input is published as it comes.
func (in *input) next() batch {
	var lines []line
	for size := 0; ; {
		l, err := in.line()
		if len(l.text) > 0 {
			lines = append(lines, l)
			size += len(l.text)
		}
		if err != nil || len(lines) == batchLines || size >= batchBytes || !in.ready() {
			return batch{lines, in.lineCounts, err}
		}
	}
}

// ready says whether a whole line has been read ahead.
func (in *input) ready() bool {
	ahead, _ := in.r.Peek(in.r.Buffered())
	return bytes.IndexByte(ahead, '\n') >= 0
}

// line reads one line, however long it is, and drops its end. One that is
// skipped has no text.
func (in *input) line() (line, error) {
	var text []byte
	size := 0
	for {
		part, err := in.r.ReadSlice('\n')
		size += len(part)
		if size <= longest+2 {
			text = append(text, part...) // a copy: part is the reader's buffer
		} else {
			text = nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if size == 0 {
			return line{}, err
		}
		return in.count(text, size), err
	}
}

// count counts a line of that size and drops its end.
func (in *input) count(text []byte, size int) line {
	in.read++
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case size > longest+2 || len(text) > longest:
		in.tooLong++
		text = nil
	case len(text) == 0:
		in.blank++
	}
	return line{number: in.read, text: text}
}

// enoughLines is how much of the API history is used.
const enoughLines = 10_000

// openAPI opens the newest part of Go's API history, which comes with every
// Go. Where there is none, for instance because Go is not installed where
// this runs, it makes lines up, and says so.
func (p *program) openAPI() *input {
	if root, err := goroot(); err != nil {
		fmt.Fprintln(p.stderr, "quickstart: made-up lines, since Go's API history is not to be had:", err)
	} else if text, names := newest(filepath.Join(root, "api")); len(text) > 0 {
		name := fmt.Sprintf("Go's API history (%s to %s)", names[0], names[len(names)-1])
		return newInput(name, io.NopCloser(bytes.NewReader(text)))
	} else {
		fmt.Fprintf(p.stderr, "quickstart: made-up lines, since %s has no api/go1.*.txt\n", root)
	}
	return newInput("made-up lines", io.NopCloser(bytes.NewReader(madeUp())))
}

func goroot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	return strings.TrimSpace(string(out)), err
}

// newest returns the text of the newest files of the API history, enough of
// them, and their names.
func newest(dir string) (text []byte, names []string) {
	files, _ := filepath.Glob(filepath.Join(dir, "go1.*.txt")) // the pattern is well-formed
	slices.SortFunc(files, func(a, b string) int { return cmp.Compare(minor(b), minor(a)) })
	lines := 0
	for _, file := range files {
		if lines >= enoughLines {
			break
		}
		content, err := os.ReadFile(file)
		if err != nil {
			continue // what cannot be read is not in the name either
		}
		text = append(text, content...)
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".txt"))
		lines += bytes.Count(content, []byte("\n"))
	}
	return text, names
}

// minor returns 26 for go1.26.txt.
func minor(file string) int {
	name := strings.TrimSuffix(filepath.Base(file), ".txt")
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "go1.")) // 0 for go1.txt
	return n
}

// madeUp returns lines like those of a small weather service.
func madeUp() []byte {
	var b bytes.Buffer
	for i := range enoughLines {
		fmt.Fprintf(&b, "station-%d temperature %d.%d\n", i*7%40, i*13%30, i%10)
	}
	return b.Bytes()
}
