package conformance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// recorder writes a history. It is safe for concurrent use: the order of
// events is the order in which they took its mutex, an invoke before the call
// and its outcome after.
type recorder struct {
	mu         sync.Mutex
	h          *History
	events     []Event // of h, until it is sealed
	limit      int
	tag        string // marks what is of this run, and of no earlier one
	sealed     bool   // what is recorded from now on is dropped
	ended      bool   // the scenario is over: leases end because everything is closed
	calls      int
	delivered  int
	deliveries map[*messaging.Delivery]int
	leases     map[*messaging.Lease]*watched
	byValue    map[string]int // first line of the body, or id, to Event.Message
	published  []messaging.Message
	watching   sync.WaitGroup
	stop       chan struct{} // ends the watches of leases
}

// newRecorder returns a recorder of h, whose events begin in the array of
// spare.
func newRecorder(h *History, limit int, spare []Event) *recorder {
	return &recorder{
		h: h, events: spare[:0], limit: limit, tag: strings.ToLower(rand.Text()[:8]),
		deliveries: map[*messaging.Delivery]int{}, leases: map[*messaging.Lease]*watched{}, byValue: map[string]int{},
	}
}

// begin says that the recording begins now. It is called where the run is, so
// that what it makes is of the same bubble.
func (r *recorder) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Started, r.stop = now, make(chan struct{})
}

// seal makes the history final: a run that is abandoned may go on, but
// records nothing more.
func (r *recorder) seal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.sealed {
		r.sealed = true
		r.h.Events, r.events = r.events, nil
	}
}

// end says that the scenario is over: what is still open will be closed, which
// no event tells, and leases that end by it are not recorded.
func (r *recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

// close ends what watches leases.
func (r *recorder) close() {
	close(r.stop)
	r.watching.Wait()
}

// add records events in one piece.
func (r *recorder) add(es ...Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(es...)
}

func (r *recorder) addLocked(es ...Event) {
	if r.sealed {
		return
	}
	at := time.Since(r.h.Started)
	for i := range es {
		if r.ended && (es[i].Kind == Ending || es[i].Kind == Lost) {
			continue
		}
		if len(r.events) >= r.limit {
			r.h.Overflow = true
			return
		}
		es[i].At = at
		r.events = append(r.events, es[i])
	}
}

// call returns the number of a new call.
func (r *recorder) call() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	return r.calls
}

// session returns the number of a new session.
func (r *recorder) session(s Session) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed {
		return 0
	}
	r.h.Sessions = append(r.h.Sessions, s)
	return len(r.h.Sessions)
}

// value names a message, in texts. After the run's tag it is the first line
// of the message's body and, where that is empty, its id.
func value(producer, counter int) string { return fmt.Sprintf("%d/%d", producer, counter) }

// register makes m, which the suite is about to publish, known, and returns
// its number. m is kept.
func (r *recorder) register(info Message, m messaging.Message) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = append(r.published, m)
	n := len(r.published)
	if r.sealed {
		return n
	}
	info.ID, info.Key, info.Subject, info.Size = m.ID, m.Key, m.Subject, sizeOf(m)
	r.h.Messages = append(r.h.Messages, info)
	if line := firstLine(m.Body); line != "" {
		r.byValue[line] = n
	}
	if m.ID != "" {
		r.byValue[m.ID] = n
	}
	return n
}

func sizeOf(m messaging.Message) int {
	n := len(m.Body)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// identify returns the number of the message that m is, by the value in its
// body or its id, or 0, and what differs from how it was published.
func (r *recorder) identify(m messaging.Message) (int, string) {
	n := r.byValue[firstLine(m.Body)]
	if n == 0 {
		id, _, _ := strings.Cut(m.ID, " ")
		n = r.byValue[id]
	}
	if n == 0 {
		return 0, "no such message was published"
	}
	return n, difference(r.published[n-1], m)
}

func firstLine(body []byte) string {
	line, _, _ := bytes.Cut(body, []byte("\n"))
	return string(line)
}

// difference says how got differs from want, "" for not at all. An id that
// the caller left to Publish is compared by the rules.
func difference(want, got messaging.Message) string {
	switch {
	case want.ID != "" && want.ID != got.ID:
		return fmt.Sprintf("id %q, want %q", got.ID, want.ID)
	case got.ID == "":
		return "no id"
	case want.Key != got.Key:
		return fmt.Sprintf("key %q, want %q", got.Key, want.Key)
	case want.Subject != got.Subject:
		return fmt.Sprintf("subject %q, want %q", got.Subject, want.Subject)
	case len(want.Body) != len(got.Body):
		return fmt.Sprintf("body of %d bytes, want %d", len(got.Body), len(want.Body))
	case !bytes.Equal(want.Body, got.Body):
		return "body differs"
	case len(want.Headers) != len(got.Headers):
		return fmt.Sprintf("%d headers, want %d", len(got.Headers), len(want.Headers))
	}
	for i, h := range want.Headers {
		if got.Headers[i] != h {
			return fmt.Sprintf("header %d is %q, want %q", i, got.Headers[i], h)
		}
	}
	return ""
}

// codeOf returns what err is.
func codeOf(err error) Code {
	if err == nil {
		return NoError
	}
	for _, c := range []struct {
		err  error
		code Code
	}{
		// The most telling first: an uncertain outcome wraps its cause.
		{messaging.ErrUncertain, Uncertain}, {messaging.ErrLost, LostError}, {messaging.ErrClosed, Closed},
		{messaging.ErrNotFound, NotFound}, {messaging.ErrTooLarge, TooLarge}, {messaging.ErrTrimmed, Trimmed},
		{messaging.ErrGrace, Grace}, {errPanicked, Panicked}, {errHung, Hung}, {errNonsense, Nonsense}, {errors.ErrUnsupported, Unsupported}, {io.EOF, EOF},
		{context.DeadlineExceeded, Deadline}, {context.Canceled, Canceled},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return Other
}

// phaseOf returns what err says of a call's effect.
func phaseOf(err error) Phase {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, messaging.ErrUncertain), errors.Is(err, errHung), errors.Is(err, errPanicked), errors.Is(err, errNonsense):
		return Info
	}
	return Fail
}

var (
	errPanicked = errors.New("panicked")
	errHung     = errors.New("did not end in time")
	errNonsense = errors.New("returned what no call may")
)

// guarded calls f and turns a panic of it into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	return f()
}

// textOf returns an error's text, shortened.
func textOf(err error) (text string) {
	if err == nil {
		return ""
	}
	defer func() {
		if p := recover(); p != nil {
			text = "an error whose text panics"
		}
	}()
	return clip(cmp.Or(err.Error(), "an error without a text"), 300)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "… (" + strconv.Itoa(len(s)) + " bytes)"
}
