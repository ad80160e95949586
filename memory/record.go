package memory

import (
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
)

// record is a published message as the broker keeps it: immutable, and shared
// by everything that holds it. Headers are a copy that is never handed out;
// a string body cannot be written to by anyone.
type record struct {
	id, key, subject string
	headers          messaging.Headers
	body             string
	published        time.Time
	seq              uint64 // place in the channel: one higher for each message
}

// The most that small messages share of an allocation. What of a message is
// longer than a quarter of it has an allocation of its own, so a message that
// stays long after its neighbours are gone keeps at most this much alive.
const (
	sharedRecords = 34
	sharedText    = 16 << 10
	sharedHeaders = 64
)

// press makes records of messages. It holds what a call of Publish needs and
// is used again by later ones. Not safe for concurrent use.
type press struct {
	records slab[record]
	headers slab[messaging.Header]
	text    *strings.Builder // what earlier messages have of it stays as it is: a Builder only appends
	size    int
	ids     ids
	recs    []*record
}

// add appends the record of m, all of it copied, to p.recs.
func (p *press) add(m *messaging.Message) {
	id := m.ID
	if id == "" {
		id = p.ids.next()
	}
	text := p.room(messageSize(m) - len(m.ID) + len(id))
	r := &p.records.cut(1, sharedRecords)[0]
	r.id, r.key, r.subject = write(text, id), write(text, m.Key), write(text, m.Subject)
	if len(m.Headers) > 0 {
		r.headers = p.headers.cut(len(m.Headers), sharedHeaders)
		for i, h := range m.Headers {
			r.headers[i] = messaging.Header{Key: write(text, h.Key), Value: write(text, h.Value)}
		}
	}
	start := text.Len()
	text.Write(m.Body)
	r.body = text.String()[start:]
	p.recs = append(p.recs, r)
}

// room returns a Builder with room for n bytes.
func (p *press) room(n int) *strings.Builder {
	if n > sharedText/4 {
		own := new(strings.Builder)
		own.Grow(n)
		return own
	}
	if p.text == nil || p.text.Cap()-p.text.Len() < n {
		p.size = max(min(2*p.size, sharedText), n, sharedText/16)
		p.text = new(strings.Builder)
		p.text.Grow(p.size)
	}
	return p.text
}

// write appends s to b and returns the copy.
func write(b *strings.Builder, s string) string {
	start := b.Len()
	b.WriteString(s)
	return b.String()[start:]
}

// clear drops the records of a call.
func (p *press) clear() {
	clear(p.recs)
	p.recs = p.recs[:0]
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
