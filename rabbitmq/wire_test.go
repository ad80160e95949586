package rabbitmq

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// counted is a connection whose Writes are counted, and can be held up.
type counted struct {
	net.Conn
	gate sync.Mutex // held: Write waits

	mu      sync.Mutex
	calls   int
	written bytes.Buffer
	err     error
}

func (c *counted) Write(p []byte) (int, error) {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.calls++
	return c.written.Write(p)
}

func newCounted(t *testing.T) *counted {
	one, other := net.Pipe()
	t.Cleanup(func() { _ = one.Close(); _ = other.Close() })
	return &counted{Conn: one}
}

// What comes together while a write is under way is one more, in order, and
// Write waits for nothing.
func TestWireCommitsInGroups(t *testing.T) {
	c := newCounted(t)
	w := newWire(c)
	c.gate.Lock()
	var want bytes.Buffer
	for i := range 10_000 {
		p := bytes.Repeat([]byte{byte(i)}, i%50)
		want.Write(p)
		if n, err := w.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	mark := w.mark()
	if done, _ := w.reached(mark); done || w.below(mark) != nil || w.below(mark-1) == nil && c.calls == 0 {
		t.Error("nothing is written, and it says that something is")
	}
	written := w.below(0)
	c.gate.Unlock()
	<-written
	if done, err := w.reached(mark); !done || err != nil {
		t.Error(done, err)
	}
	if !bytes.Equal(c.written.Bytes(), want.Bytes()) || c.calls > 3 {
		t.Errorf("%d bytes of %d in %d writes", c.written.Len(), want.Len(), c.calls)
	}
	check(t, w.Close())
	check(t, w.Close())
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a Write after Close is nil")
	}
}

// Close still writes what was given before.
func TestWireCloseFlushes(t *testing.T) {
	c := newCounted(t)
	w := newWire(c)
	_, err := w.Write([]byte("last words"))
	check(t, err)
	check(t, w.Close())
	if c.written.String() != "last words" {
		t.Errorf("%q was written", c.written.String())
	}
}

// A failure ends the connection, and tells everybody who waits.
func TestWireFails(t *testing.T) {
	c := newCounted(t)
	broken := errors.New("broken")
	c.err = broken
	w := newWire(c)
	c.gate.Lock()
	_, err := w.Write([]byte("lost"))
	check(t, err)
	mark, wait := w.mark(), w.below(0)
	c.gate.Unlock()
	<-wait
	if done, err := w.reached(mark); done || !errors.Is(err, broken) {
		t.Error(done, err)
	}
	if _, err := w.Write(nil); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := w.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	_ = w.Close()
}
