package memory

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// FuzzSegment writes records and reads them back.
func FuzzSegment(f *testing.F) {
	f.Add("", "", "", "", "", []byte(nil), uint8(0), int64(0))
	f.Add("id", "key", "a.b", "name", "value", []byte("body"), uint8(3), int64(-1))
	f.Add(strings.Repeat("i", 127), strings.Repeat("k", 128), "\xff", "", "\x00", make([]byte, 1<<15), uint8(255), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, id, key, subject, name, value string, body []byte, headers uint8, published int64) {
		r := &record{id: id, key: key, subject: subject, body: body, published: time.Unix(0, published), seq: 1}
		for range headers {
			r.headers = append(r.headers, messaging.Header{Key: name, Value: value})
		}
		size := r.size()
		g := newSegment(7, 2*size, nil)
		g.used = len(appendRecord(g.data[:0], r))
		g.used = len(appendRecord(g.data[:g.used], r))
		equal(t, "used", g.used, 2*size)
		equal(t, "position", g.skip(8), size)
		var c cutter
		for pos := 0; pos < g.used; {
			w := g.at(pos)
			equal(t, "size", w.size, size)
			pos += w.size
			got := c.record(w)
			if got.id != r.identity() || got.key != key || got.subject != subject || !bytes.Equal(got.body, body) || nano(got.published) != nano(r.published) || !slices.Equal(got.headers, r.headers) || got.seq != 1 {
				t.Errorf("got id %.20q key %.20q body %.20q, want id %.20q key %.20q body %.20q", got.id, got.key, got.body, r.identity(), key, body)
			}
		}
		if len(g.data)-g.used > fixedBytes {
			equal(t, "what is behind the last one", g.at(g.used).size, 0)
		}
	})
}

func TestSegmentsAreNotWasteful(t *testing.T) {
	for _, size := range []int{10, 1000, 20_000, 33_000, 300_000, 1 << 20, 5 << 20} {
		p := newLog(&channel{made: options{partitions: 1}}).parts[0]
		total := 0
		for n := max(10, 1<<20/size); n > 0; n-- {
			r := &record{seq: 1, body: make([]byte, size)}
			p.append(r)
			total += r.size()
		}
		room := 0
		for _, g := range p.segments {
			room += len(g.data)
		}
		last := len(p.tail().data)
		if room-last > total*4/3 {
			t.Errorf("messages of %d bytes: %d of them in %d, without the last segment's %d", size, total, room, last)
		}
	}
}

func TestKeysSpread(t *testing.T) {
	for _, form := range []string{"%d", "customer-%d", "%08d", "user:%d:orders", "%x", "a-long-prefix-that-all-of-them-have-%d"} {
		for _, n := range []int{3, 4, 8, 100} {
			counts := make([]int, n)
			for i := range 500 * n {
				counts[hash(fmt.Sprintf(form, i))%uint64(n)]++
			}
			chi := 0.0
			for _, c := range counts {
				chi += float64((c-500)*(c-500)) / 500
			}
			// The mean of chi is n-1 and its deviation the root of twice that.
			if free := float64(n - 1); chi > free+5*math.Sqrt(2*free) {
				t.Errorf("%s over %d: chi square is %.1f", form, n, chi)
			}
		}
	}
}
