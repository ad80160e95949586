package conformance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// A saved history is lines of JSON: a header, which names the format and its
// version and counts the lines that follow, then one line a message, one a
// session and one an event, each {"message":…}, {"session":…} or {"event":…}.
// Strings that are not UTF-8 are "\u0000" and their base64.
const (
	historyFormat  = "messaging conformance history"
	historyVersion = 1

	// What a file may not exceed, whatever its header says.
	longestLine  = 1 << 20
	mostText     = 1 << 30
	mostOfHeader = 8 << 20 // of messages, sessions and events, each
)

type historyHeader struct {
	Format   string `json:"format"`
	Version  int    `json:"version"`
	Messages int    `json:"messages"`
	Sessions int    `json:"sessions"`
	Events   int    `json:"events"`
	*History
}

type historyLine struct {
	Message *Message `json:"message,omitempty"`
	Session *Session `json:"session,omitempty"`
	Event   *Event   `json:"event,omitempty"`
}

// SaveHistory writes h to a file, compressed if its name ends in .gz. The
// file is there as a whole or not at all.
func SaveHistory(name string, h *History) error {
	err := replaceFile(name, func(w io.Writer) error {
		if !strings.HasSuffix(name, ".gz") {
			return WriteHistory(w, h)
		}
		zip := gzip.NewWriter(w)
		return errors.Join(WriteHistory(zip, h), zip.Close())
	})
	if err != nil {
		return fmt.Errorf("conformance: save history: %w", err)
	}
	return nil
}

// replaceFile writes a file beside name and then gives it that name.
func replaceFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(dirOf(name), ".conformance-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if err := errors.Join(write(w), w.Flush(), f.Chmod(0o644), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), name)
}

func dirOf(name string) string {
	if i := strings.LastIndexByte(name, os.PathSeparator); i >= 0 {
		return name[:i+1]
	}
	return "."
}

// LoadHistory reads a file that [SaveHistory] wrote. See [ReadHistory].
func LoadHistory(name string) (*History, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("conformance: load history: %w", err)
	}
	defer f.Close()
	h, err := ReadHistory(f)
	if err != nil {
		return nil, fmt.Errorf("conformance: load history %s: %w", name, errors.Unwrap(err))
	}
	return h, nil
}

// WriteHistory writes h as lines of JSON, to be read by [ReadHistory].
func WriteHistory(w io.Writer, h *History) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	head := *h
	texts(head.texts(), encodeText)
	head.Started = storable(head.Started)
	errs := []error{enc.Encode(historyHeader{historyFormat, historyVersion, len(h.Messages), len(h.Sessions), len(h.Events), &head})}
	for _, m := range h.Messages {
		texts(m.texts(), encodeText)
		errs = append(errs, enc.Encode(historyLine{Message: &m}))
	}
	for _, s := range h.Sessions {
		texts(s.texts(), encodeText)
		errs = append(errs, enc.Encode(historyLine{Session: &s}))
	}
	for _, e := range h.Events {
		texts(e.texts(), encodeText)
		e.Published = storable(e.Published)
		if err := enc.Encode(historyLine{Event: &e}); err != nil {
			errs = append(errs, err)
			break
		}
	}
	if err := errors.Join(append(errs, b.Flush())...); err != nil {
		return fmt.Errorf("conformance: write history: %w", err)
	}
	return nil
}

// ReadHistory reads what [WriteHistory] wrote, compressed or not. A history
// that is truncated, of another version, or that refers to what is not in it,
// is an error which names the line. What it allocates grows with what it
// reads, and not with what that promises.
func ReadHistory(r io.Reader) (*History, error) {
	in := bufio.NewReaderSize(r, longestLine)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		zip, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("conformance: read history: %w", err)
		}
		in = bufio.NewReaderSize(zip, longestLine)
	}
	lines := &historyLines{in: in}
	h, err := lines.history()
	if err != nil {
		return nil, fmt.Errorf("conformance: read history: %w", fmt.Errorf("line %d: %w", lines.n, err))
	}
	if err := h.validate(); err != nil {
		return nil, fmt.Errorf("conformance: read history: %w", err)
	}
	return h, nil
}

// historyLines reads lines.
type historyLines struct {
	in   *bufio.Reader
	n    int
	text int
}

// next returns a line, which is valid until the next. At the end of the file
// it is io.EOF.
func (l *historyLines) next() ([]byte, error) {
	l.n++
	line, err := l.in.ReadSlice('\n')
	l.text += len(line)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("longer than %d bytes", longestLine)
	case l.text > mostText:
		return nil, fmt.Errorf("the history is longer than %d bytes", mostText)
	case err == io.EOF && len(line) > 0:
		return line, nil
	}
	return line, err
}

func (l *historyLines) history() (*History, error) {
	line, err := l.next()
	if err != nil {
		return nil, unexpected(err, "the file is empty")
	}
	var kind struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	switch err := json.Unmarshal(line, &kind); {
	case err != nil || kind.Format != historyFormat:
		return nil, errors.New("this is not the header of a saved history")
	case kind.Version != historyVersion:
		return nil, fmt.Errorf("the history is of version %d, and this is a reader of version %d: check it with the release that saved it", kind.Version, historyVersion)
	}
	head := historyHeader{History: &History{}}
	if err := strict(line, &head); err != nil {
		return nil, err
	}
	for _, n := range []int{head.Messages, head.Sessions, head.Events} {
		if n < 0 || n > mostOfHeader {
			return nil, fmt.Errorf("a history of %d lines of one kind: at most %d can be read", n, mostOfHeader)
		}
	}
	h := head.History
	if err := texts(h.texts(), decodeText); err != nil {
		return nil, err
	}
	return h, l.body(&head)
}

// body reads the lines that the header promises, and that there are no
// others.
func (l *historyLines) body(head *historyHeader) error {
	h, total := head.History, head.Messages+head.Sessions+head.Events
	for len(h.Messages)+len(h.Sessions)+len(h.Events) < total {
		text, err := l.next()
		if err != nil {
			return unexpected(err, fmt.Sprintf("the history is truncated: %d lines should follow its header, %d do", total, l.n-2))
		}
		var line historyLine
		if err := strict(text, &line); err != nil {
			return err
		}
		switch {
		case line.Message != nil && len(h.Messages) < head.Messages:
			h.Messages = append(h.Messages, *line.Message)
			err = texts(h.Messages[len(h.Messages)-1].texts(), decodeText)
		case line.Session != nil && len(h.Messages) == head.Messages && len(h.Sessions) < head.Sessions:
			h.Sessions = append(h.Sessions, *line.Session)
			err = texts(h.Sessions[len(h.Sessions)-1].texts(), decodeText)
		case line.Event != nil && len(h.Messages) == head.Messages && len(h.Sessions) == head.Sessions:
			h.Events = append(h.Events, *line.Event)
			err = texts(h.Events[len(h.Events)-1].texts(), decodeText)
		default:
			err = fmt.Errorf("not what the header promises: %d messages, then %d sessions, then %d events", head.Messages, head.Sessions, head.Events)
		}
		if err != nil {
			return err
		}
	}
	switch rest, err := l.next(); {
	case err == nil:
		return fmt.Errorf("more lines than the header promises: %q", clip(string(rest), 40))
	case err != io.EOF:
		return err // such as a wrong checksum
	}
	return nil
}

func unexpected(err error, what string) error {
	if err == io.EOF {
		return errors.New(what)
	}
	return fmt.Errorf("%s (%w)", what, err)
}

// strict decodes one value, with nothing unknown in it and nothing after it.
func strict(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if len(bytes.TrimSpace(line[dec.InputOffset():])) > 0 {
		return errors.New("something follows the line's value")
	}
	return nil
}

func (h *History) texts() []*string { return []*string{&h.Target, &h.Scenario, &h.Fault, &h.Failure} }
func (m *Message) texts() []*string { return []*string{&m.Channel, &m.ID, &m.Key, &m.Subject} }
func (s *Session) texts() []*string {
	return []*string{&s.Channel, &s.Group, &s.Subject, &s.Start, &s.End, &s.Only}
}
func (e *Event) texts() []*string {
	return []*string{&e.Partition, &e.Offset, &e.ID, &e.Diff, &e.Text}
}

func texts(ss []*string, f func(*string) error) error {
	for _, s := range ss {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

func encodeText(s *string) error {
	if !utf8.ValidString(*s) || strings.HasPrefix(*s, "\x00") {
		*s = "\x00" + base64.StdEncoding.EncodeToString([]byte(*s))
	}
	return nil
}

func decodeText(s *string) error {
	coded, ok := strings.CutPrefix(*s, "\x00")
	if !ok {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(coded)
	*s = string(raw)
	return err
}

// storable returns t as JSON can hold it: a broker may say any time.
func storable(t time.Time) time.Time {
	t = t.UTC()
	switch y := t.Year(); {
	case y < 0:
		return time.Time{}
	case y > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}
