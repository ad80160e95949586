package kafka

import (
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

const (
	// fetchVersion is the highest version of a fetch request that is used: the
	// last without tagged fields. 4 is the first that can read committed.
	fetchVersion = 11

	// fetchWait is how long the broker may wait for a first record.
	fetchWait = 500 * time.Millisecond

	// fetchPause is the same while another partition of the broker is about to
	// be asked for again.
	fetchPause = 10 * time.Millisecond

	// What is asked for in one request: of a partition (measured: the default
	// of 1 MiB halves the rate), and in all.
	fetchPartition = 2 << 20
	fetchRequest   = 8 << 20

	// mostAhead is how much a subscriber reads ahead, in bytes as they are
	// fetched; one batch of each partition comes on top of it, at most.
	mostAhead = 32 << 20

	// leastFetch is the least that a partition is asked for.
	leastFetch = 64 << 10
)

// fetcher fetches from the partitions that one broker leads: one request at a
// time, for all of them that have room.
type fetcher struct {
	s      *stream
	broker int32
	wake   chan struct{}

	// of its goroutine
	conn  *conn
	out   encoder
	asked []asked
	first int // partitions take turns: the broker fills a response in the order of the request
}

// asked is a partition in the request under way.
type asked struct {
	a     *assignment
	at    int64
	bytes int32
	turn  int
}

var responses = sync.Pool{New: func() any { return new(response) }}

// run fetches until the stream is closed.
func (f *fetcher) run() {
	defer func() { f.s.c.drop(f.conn) }()
	for {
		wait, again := f.gather()
		if len(f.asked) > 0 {
			f.fetch(wait)
			continue
		}
		if !f.sleep(again) {
			return
		}
	}
}

// sleep returns when f is woken, or after a while where that is above 0; false
// when the stream was closed.
func (f *fetcher) sleep(again time.Duration) bool {
	var retry <-chan time.Time
	if again > 0 {
		timer := time.NewTimer(again)
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-f.wake:
	case <-retry:
	case <-f.s.done:
		return false
	}
	return true
}

// gather finds the partitions to ask for. It returns how long the broker may
// wait and, when there are none, when to look again: 0 for when woken.
func (f *fetcher) gather() (wait, again time.Duration) {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	f.asked = f.asked[:0]
	wait = fetchWait
	n := len(s.assigned)
	if s.err != nil || n == 0 {
		return 0, 0
	}
	f.first++
	layout, now := s.c.layout(), time.Now()
	budget := mostAhead - s.ahead
	share := min(fetchPartition, max(leastFetch, budget/n))
	for i := range n {
		a := s.assigned[(f.first+i)%n]
		r := &a.ahead
		switch pause := r.retryAt.Sub(now); {
		case a.ending || a.failed != nil || r.lookup || a.end >= 0 && r.at >= a.end || layout.leader(a.partition) != f.broker:
		case pause > 0:
			if again == 0 || pause < again {
				again = pause
			}
		case r.busy || len(r.chunks) > 1 || budget <= 0 && len(r.chunks) > 0:
			if r.touched {
				wait = fetchPause
			}
		default:
			r.busy, r.touched = true, false
			f.asked = append(f.asked, asked{a, r.at, int32(share), r.turn})
			budget -= share
		}
	}
	return wait, again
}

// fetch makes one request and hands out what it returns.
func (f *fetcher) fetch(wait time.Duration) {
	set, err := f.exchange(wait)
	if err != nil {
		set = nil
		f.s.c.drop(f.conn)
		f.conn = nil
		if f.s.c.ctx.Err() == nil {
			f.s.o.log.Warn("kafka: a fetch failed", "broker", f.broker, "error", err)
		}
	}
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for i := range f.asked {
		f.asked[i].a.ahead.busy = false
	}
	if err != nil {
		for _, q := range f.asked {
			q.a.retry()
		}
		f.s.stale(permanentOrNil(err))
		return
	}
	for _, p := range set {
		f.take(p)
	}
	f.s.rouse()
}

func permanentOrNil(err error) error {
	if permanent(err) {
		return err
	}
	return nil
}

// exchange sends a request and reads the answer, whose batches are checked and
// cut here, with nothing locked.
func (f *fetcher) exchange(wait time.Duration) (set []fetched, err error) {
	if f.conn == nil {
		if f.conn, err = f.s.c.dialBroker(f.s.c.ctx, f.broker); err != nil {
			return nil, err
		}
	}
	version := f.conn.version(protocol.Fetch, fetchVersion)
	f.write(version, wait)
	_ = f.conn.SetDeadline(time.Now().Add(requestTimeout + wait))
	if _, err := f.conn.Write(f.out); err != nil {
		return nil, hung(err, "a fetch request")
	}
	r := responses.Get().(*response)
	if r.buf, err = f.conn.frame(r.buf, mostResponse); err != nil {
		responses.Put(r)
		return nil, hung(err, "a fetch request")
	}
	return f.read(r, version)
}

func (f *fetcher) write(version int16, wait time.Duration) {
	e := &f.out
	f.conn.correlation++
	e.begin(int16(protocol.Fetch), version, f.conn.correlation, f.conn.clientID)
	e.int32(-1) // no replica
	e.int32(int32(wait / time.Millisecond))
	e.int32(1)
	e.int32(fetchRequest)
	e.int8(1) // read committed
	if version >= 7 {
		e.int32(0) // no fetch session: the partitions change all the time
		e.int32(-1)
	}
	e.int32(1)
	e.string(f.s.o.topic)
	e.int32(int32(len(f.asked)))
	for _, q := range f.asked {
		e.int32(q.a.partition)
		if version >= 9 {
			e.int32(-1) // leader epoch
		}
		e.int64(q.at)
		if version >= 5 {
			e.int64(-1) // log start offset
		}
		e.int32(q.bytes)
	}
	if version >= 7 {
		e.int32(0)
	}
	if version >= 11 {
		e.string("") // rack
	}
	e.end(0)
}

// take gives a partition what was fetched of it. The stream's mutex is held.
func (f *fetcher) take(p fetched) {
	q := f.find(p.partition)
	if q == nil || q.a.over || q.turn != q.a.ahead.turn {
		f.s.release(p.chunk)
		return
	}
	a, r := q.a, &q.a.ahead
	switch code := kafkago.Error(p.code); {
	case code == 0:
		f.keep(a, p)
		return
	case code == kafkago.OffsetOutOfRange:
		r.lookup = true
		f.s.stale(nil)
	case passing(p.code) || isMissing(p.code):
		a.retry()
		f.s.stale(nil)
	default:
		a.failed = codeError(p.code)
	}
	f.s.release(p.chunk)
}

// keep adds a chunk to what is read ahead.
func (f *fetcher) keep(a *assignment, p fetched) {
	r := &a.ahead
	if r.unknown {
		r.unknown = false
		a.reached = max(a.reached, p.highWatermark)
	}
	if p.err != nil {
		// It may have been broken on its way.
		if r.failures++; r.failures > mostCorrupt {
			a.failed = fmt.Errorf("partition %s: %w", a.name, p.err)
		} else {
			r.retryAt = time.Now().Add(backoff(r.failures))
			f.s.o.log.Warn("kafka: fetched again", "partition", a.partition, "error", p.err)
		}
	} else {
		r.failures = 0
	}
	if p.chunk.end == r.at {
		f.s.release(p.chunk)
		return
	}
	r.at = p.chunk.end
	r.chunks = append(r.chunks, p.chunk)
	r.bytes += p.chunk.size
	f.s.ahead += p.chunk.size
}

// mostCorrupt is how often a batch is fetched again whose checksum is wrong.
const mostCorrupt = 3

// retry has a partition fetched again after a while.
func (a *assignment) retry() {
	a.ahead.failures++
	a.ahead.retryAt = time.Now().Add(backoff(a.ahead.failures))
}

func (f *fetcher) find(partition int32) *asked {
	for i := range f.asked {
		if f.asked[i].a.partition == partition {
			return &f.asked[i]
		}
	}
	return nil
}
