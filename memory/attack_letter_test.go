package memory

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
)

// letter is a message that is published.
type letter struct {
	n    int
	msg  messaging.Message
	turn int    // among those of its key
	id   string // known from its first delivery, where Publish assigned it
}

// write makes the next message of a publisher.
func (a *attack) write(rng *rand.Rand, who, most int) messaging.Message {
	a.mu.Lock()
	n := a.n
	a.n++
	a.mu.Unlock()
	l := &letter{n: n}
	m := &l.msg
	switch rng.IntN(4) {
	case 0:
	case 1:
		m.Key = fmt.Sprint(who, "-", rng.IntN(1000))
	default:
		m.Key = fmt.Sprint(who, "-", rng.IntN(4))
	}
	if m.Key != "" && rng.IntN(50) == 0 {
		m.Key += strings.Repeat("long", rng.IntN(3000))
	}
	for range rng.IntN(4) {
		m.Subject += "." + string("abc"[rng.IntN(3)])
	}
	m.Subject = strings.TrimPrefix(m.Subject, ".")
	m.Body = bodyOf(n, min(bodySize(rng), most))
	if rng.IntN(3) == 0 {
		m.ID = fmt.Sprint("id-", n)
		if rng.IntN(20) == 0 {
			m.ID += strings.Repeat("x", rng.IntN(10_000))
		}
	}
	m.Headers = headersOf(rng, n)
	l.id = m.ID
	a.progress.Add(1)
	sum := a.sum(m)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.letters[sum] = l
	l.turn = len(a.keys[m.Key])
	a.keys[m.Key] = append(a.keys[m.Key], l)
	for _, s := range a.sides {
		if s.wants(l) {
			s.missing++
		}
	}
	return l.msg
}

// bodySize is mostly small, and often about where memory is divided.
func bodySize(rng *rand.Rand) int {
	switch k := rng.IntN(1000); {
	case k < 100:
		return 0
	case k < 700:
		return rng.IntN(400)
	case k < 900:
		return rng.IntN(9000)
	case k < 960:
		return mostPage/4 - 100 + rng.IntN(200)
	case k < 980:
		return []int{mostPage, mostSegment, sharedBytes, sharedBytes / 4, leastPage}[rng.IntN(5)] - 100 + rng.IntN(200)
	case k < 999:
		return rng.IntN(200_000)
	}
	return rng.IntN(5 << 20)
}

// bodyOf is the body of message n.
func bodyOf(n, size int) []byte {
	body := make([]byte, size)
	rng := rand.NewPCG(uint64(n), 0)
	for i := 0; i < size; i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rng.Uint64())
		copy(body[i:], word[:])
	}
	return body
}

// headersOf are of message n, whose number is one of them.
func headersOf(rng *rand.Rand, n int) messaging.Headers {
	var hs messaging.Headers
	for i := range rng.IntN(4) {
		hs = append(hs, messaging.Header{Key: fmt.Sprint("h", i), Value: strings.Repeat("v", rng.IntN(100))})
	}
	if rng.IntN(100) == 0 {
		for i := range rng.IntN(300) {
			hs = append(hs, messaging.Header{Key: strings.Repeat("k", i), Value: strings.Repeat("w", rng.IntN(300))})
		}
	}
	return slices.Insert(hs, rng.IntN(len(hs)+1), messaging.Header{Key: "n", Value: fmt.Sprint(n)})
}

// sum is of everything but the id.
func (a *attack) sum(m *messaging.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(a.hash)
	size := func(n int) { h.Write(binary.AppendUvarint(nil, uint64(n))) }
	part := func(s string) { size(len(s)); h.WriteString(s) }
	part(m.Key)
	part(m.Subject)
	size(len(m.Headers))
	for _, f := range m.Headers {
		part(f.Key)
		part(f.Value)
	}
	h.Write(m.Body)
	return h.Sum64()
}

func (a *attack) publish(ctx context.Context, pub messaging.Publisher, who int, rng *rand.Rand) {
	bytes, left := 0, 1200
	if raced {
		left = 400 // it takes its time
	}
	for range 5 + rng.IntN(10) {
		var batch []messaging.Message
		n := rng.IntN(20)
		most := 5 << 20
		switch rng.IntN(8) {
		case 0:
			n = rng.IntN(300)
		case 1:
			n, most = rng.IntN(2000), rng.IntN(200) // pages full of them in one call
		}
		for range n {
			if bytes > 4<<20 || left == 0 {
				break
			}
			left--
			batch = append(batch, a.write(rng, who, most))
			bytes += len(batch[len(batch)-1].Body)
		}
		if err := pub.Publish(ctx, batch...); err != nil {
			a.fail("publish: %v", err)
		}
		for _, m := range batch { // nobody keeps them
			clear(m.Body)
			clear(m.Headers)
		}
		if rng.IntN(2) == 0 {
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
		}
	}
	a.mu.Lock()
	a.writing--
	a.mu.Unlock()
}

// read finds the letter of a delivery.
func (a *attack) read(d *messaging.Delivery) *letter {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.letters[a.sum(&d.Message)]
	if l == nil {
		n := d.Headers.Get("n")
		a.fail("corrupt: id %.40q key %.40q subject %q header n %q, %d headers, body of %d: %.40q", d.ID, d.Key, d.Subject, n, len(d.Headers), len(d.Body), d.Body)
		return nil
	}
	if l.id == "" && len(d.ID) == idLength {
		l.id = d.ID
	}
	if d.ID != l.id {
		a.fail("message %d came with id %.40q and %.40q", l.n, d.ID, l.id)
	}
	return l
}

// written says whether all is published, and how much.
func (a *attack) written() (all bool, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writing == 0, a.n
}
