package memory

import (
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
)

// record is a message that is being published: the caller's own memory, lent
// for the time of the call. Who stores it copies its bytes.
type record struct {
	id, key, subject string
	headers          messaging.Headers
	body             []byte
	published        time.Time
	seq              uint64         // place in the channel: one higher for each message
	place            place          // where subscriptions find it; zero until one wants it
	made             [idLength]byte // the id, where id is empty
}

// identity returns the id.
func (r *record) identity() string {
	if r.id == "" {
		return string(r.made[:])
	}
	return r.id
}

// The most that small messages share of an allocation when they are
// delivered. What of a message is longer than a quarter of it has an
// allocation of its own, so a delivery that is kept long after its neighbours
// are gone keeps at most this much alive.
const (
	sharedText    = 16 << 10
	sharedHeaders = 64
)

// press makes records of messages. A call of Publish borrows one. The zero
// value is ready. Not safe for concurrent use.
type press struct {
	ids  ids
	recs []*record // of this call
	own  []*record // those that it made, to use again
}

// add appends the record of m to p.recs.
func (p *press) add(m *messaging.Message) {
	n := len(p.recs)
	if n == len(p.own) {
		p.own = append(p.own, new(record))
	}
	r := p.own[n]
	r.id, r.key, r.subject, r.headers, r.body = m.ID, m.Key, m.Subject, m.Headers, m.Body
	if m.ID == "" {
		p.ids.make(&r.made)
	}
	p.recs = append(p.recs, r)
}

// mostOwn is how many records a press keeps for the next call.
const mostOwn = 1024

// clear gives back what was lent.
func (p *press) clear() {
	for _, r := range p.own[:len(p.recs)] { // dedup= may have taken some out of recs
		*r = record{}
	}
	if len(p.own) > mostOwn {
		p.own, p.recs = nil, nil
	}
	p.recs = p.recs[:0]
}

// texts makes strings that share larger allocations, see slab.Of. The zero value
// is ready. Not safe for concurrent use.
type texts struct {
	shared *strings.Builder // what was written stays as it is: a Builder only appends
	size   int
}

// room returns a Builder with room for n bytes.
func (t *texts) room(n int) *strings.Builder {
	if n > sharedText/4 {
		own := new(strings.Builder)
		own.Grow(n)
		return own
	}
	if t.shared == nil || t.shared.Cap()-t.shared.Len() < n {
		t.size = max(min(2*t.size, sharedText), n, sharedText/16)
		t.shared = new(strings.Builder)
		t.shared.Grow(t.size)
	}
	return t.shared
}

// copy returns a copy of b.
func (t *texts) copy(b []byte) string {
	text := t.room(len(b))
	start := text.Len()
	text.Write(b)
	return text.String()[start:]
}

// messageSize is what a message counts against the size limit: body, headers,
// key, subject, and the id if the publisher gave one.
func messageSize(m *messaging.Message) int {
	n := len(m.Body) + len(m.ID) + len(m.Key) + len(m.Subject)
	for i := range m.Headers {
		n += len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return n
}
