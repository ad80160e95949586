package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// What no queue is bound for is ErrNotFound, exactly that, also among others in
// flight and with ids that are not unique.
func TestUnroutable(t *testing.T) {
	u := address(t, "create=true&subject=ok.%23")
	b := &Backend{}
	q, p := openQueue(t, b, u), openPublisher(t, b, u)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for round := range 5 {
				msgs := make([]messaging.Message, 1+(caller*37+round*11)%200)
				for i := range msgs {
					msgs[i].Subject, msgs[i].ID = "ok.x", "same"
					if (i+caller)%3 == 0 {
						msgs[i].Subject = "other"
					}
				}
				err := p.Publish(soon(t), msgs...)
				for i := range msgs {
					one := messaging.ErrorAt(err, i)
					if msgs[i].Subject == "ok.x" {
						taken.Add(1)
					}
					if good := msgs[i].Subject == "ok.x"; good != (one == nil) || !good && (!errors.Is(one, messaging.ErrNotFound) || errors.Is(one, messaging.ErrUncertain)) {
						t.Errorf("subject %s: %v", msgs[i].Subject, one)
					}
				}
			}
		})
	}
	wg.Wait()
	for left := int(taken.Load()); left > 0; {
		ds := receive(t, q, min(left, 100))
		left -= len(ds)
		check(t, q.Ack(soon(t), ds...))
	}
	nothing(t, q, 200*time.Millisecond)
}

// An exchange that vanishes is ErrNotFound, for nobody else's message, and what
// is published when it is there again is taken.
func TestExchangeVanishes(t *testing.T) {
	u := address(t, "create=true")
	name := channelOf(t, u)
	b := &Backend{}
	q, p := openQueue(t, b, u), openPublisher(t, b, u)
	var mu sync.Mutex
	taken := map[string]bool{}
	failed := map[string]bool{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				m := messaging.Message{ID: messaging.NewID()}
				err := p.Publish(soon(t), m)
				mu.Lock()
				switch {
				case err == nil:
					taken[m.ID] = true
				case !errors.Is(err, messaging.ErrNotFound):
					t.Error(err)
				case !errors.Is(err, messaging.ErrUncertain):
					failed[m.ID] = true
				}
				mu.Unlock()
			}
		})
	}
	ds := receive(t, q, 100)
	native(t, func(ch *amqp.Channel) error { return ch.ExchangeDelete(name, false, false) })
	for vanished := false; !vanished; {
		mu.Lock()
		vanished = len(failed) > 20
		mu.Unlock()
		check(t, soon(t).Err())
		time.Sleep(time.Millisecond)
	}
	err := p.Publish(soon(t), messaging.Message{}, messaging.Message{}, messaging.Message{})
	for i := range 3 {
		if one := messaging.ErrorAt(err, i); !errors.Is(one, messaging.ErrNotFound) || errors.Is(one, messaging.ErrUncertain) {
			t.Errorf("place %d: %v", i, one)
		}
	}
	native(t, func(ch *amqp.Channel) error {
		return errors.Join(ch.ExchangeDeclare(name, "topic", true, false, false, false, nil), ch.QueueBind(name, "#", name, false, nil))
	})
	check(t, p.Publish(soon(t), messaging.Message{ID: "last"}))
	stop()
	wg.Wait()
	taken["last"] = true
	for len(taken) > 0 {
		for _, d := range ds {
			if failed[d.ID] {
				t.Fatalf("%s failed and came", d.ID)
			}
			delete(taken, d.ID)
		}
		check(t, q.Ack(soon(t), ds...))
		if len(taken) > 0 {
			ds = receive(t, q, 1)
		}
	}
}

// Connections that break are not the caller's problem: nothing is lost, and the
// messages of a key keep their order.
func TestPublishReconnects(t *testing.T) {
	kinds(t, func(t *testing.T, params string) {
		u := address(t, params)
		cutter, through := newProxy(t, u)
		q, p := openQueue(t, &Backend{}, u), openPublisher(t, &Backend{}, through)
		const callers, calls, each = 6, 30, 40
		// Each so many calls that were taken there is a cut, so that however slow
		// everything is, it goes on.
		taken := make(chan struct{}, callers*calls)
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for call := range calls {
					msgs := make([]messaging.Message, each)
					for i := range msgs {
						msgs[i] = messaging.Message{Key: fmt.Sprint(caller), ID: fmt.Sprintf("%d/%d", caller, call*each+i)}
					}
					if err := p.Publish(soon(t), msgs...); err != nil {
						t.Error(err)
						break
					}
					taken <- struct{}{}
				}
			})
		}
		go func() { wg.Wait(); close(taken) }()
		cuts := 0
		for range taken {
			if cuts++; cuts%7 == 0 {
				cutter.cut()
			}
		}
		t.Logf("%d cuts", cuts/7)
		next := make([]int, callers)
		seen := map[string]bool{}
		for len(seen) < callers*calls*each && !t.Failed() {
			ds := receive(t, q, 1)
			for _, d := range ds {
				if seen[d.ID] {
					continue
				}
				seen[d.ID] = true
				var caller, n int
				if _, err := fmt.Sscanf(d.ID, "%d/%d", &caller, &n); err != nil {
					t.Fatal(err)
				}
				if n != next[caller] && !d.Redelivered {
					t.Fatalf("%s came where %d was next", d.ID, next[caller])
				}
				next[caller] = n + 1
			}
			check(t, q.Ack(soon(t), ds...))
		}
	})
}

// Without an answer the outcome is unknown when the time is over, and what was
// not sent is certainly not taken.
func TestPublishUncertain(t *testing.T) {
	u := address(t, "create=true")
	cutter, through := newProxy(t, u)
	p, once := openPublisher(t, &Backend{}, through), openPublisher(t, &Backend{NoRetry: true}, through)
	p.pipe.open(t)
	once.pipe.open(t)
	cutter.set(true, false)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := p.Publish(ctx, messaging.Message{})
	wants(t, err, messaging.ErrUncertain)
	wants(t, err, context.DeadlineExceeded)
	outcome := make(chan error)
	go func() { outcome <- once.Publish(soon(t), messaging.Message{}) }()
	for once.pipe.inFlight() == 0 {
		check(t, soon(t).Err())
		time.Sleep(time.Millisecond)
	}
	cutter.set(false, true)
	cutter.cut()
	wants(t, <-outcome, messaging.ErrUncertain)
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for _, p := range []messaging.Publisher{p, once} {
		err := p.Publish(ctx, messaging.Message{})
		wants(t, err, context.DeadlineExceeded)
		if errors.Is(err, messaging.ErrUncertain) {
			t.Errorf("%v: it was not sent", err)
		}
	}
	cutter.set(false, false)
	check(t, p.Publish(soon(t), messaging.Message{}))
	check(t, once.Publish(soon(t), messaging.Message{}))
}

// inFlight is how many messages wait for their confirms.
// open waits until every lane is open: one that is not when its connection goes
// deaf sends nothing.
func (p *pipe) open(t *testing.T) {
	t.Helper()
	b := bound{ctx: soon(t)}
	defer b.end()
	for _, l := range p.lanes {
		if _, err := l.get(&b); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *pipe) inFlight() (n int) {
	for _, link := range p.lanes {
		link.mu.Lock()
		l := link.current
		link.mu.Unlock()
		if l != nil {
			l.mu.Lock()
			n += l.inFlight
			l.mu.Unlock()
		}
	}
	return n
}

// A network that takes nothing holds publishers back, as long as their contexts
// allow, and memory is bounded.
func TestPublishHeldBack(t *testing.T) {
	u := address(t, "create=true&heartbeat=10m")
	slow, through := newProxy(t, u)
	p := openPublisher(t, &Backend{}, through)
	slow.stall()
	const callers, size = 400, 64 << 10
	body := make([]byte, size)
	var sent, unsent atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			err := p.Publish(ctx, messaging.Message{Body: body})
			if late := time.Since(begun) - time.Second; late > time.Second {
				t.Errorf("its context ended %v ago", late)
			}
			switch {
			case errors.Is(err, messaging.ErrUncertain):
				sent.Add(1)
			case errors.Is(err, context.DeadlineExceeded):
				unsent.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p.pipe.conns.mu.Lock()
	w := p.pipe.conns.current.wire
	p.pipe.conns.mu.Unlock()
	w.mu.Lock()
	kept := w.queued - w.written
	w.mu.Unlock()
	if most := int64(mostUnwritten + laneCount*(size+1024)); kept > most || unsent.Load() == 0 {
		t.Errorf("%d bytes are kept, at most %d; %d sent, %d not", kept, most, sent.Load(), unsent.Load())
	}
	slow.release()
	check(t, p.Publish(soon(t), messaging.Message{}))
	if n := p.pipe.inFlight(); n != 0 {
		for deadline := soon(t); p.pipe.inFlight() > 0; time.Sleep(time.Millisecond) {
			check(t, deadline.Err())
		}
	}
}

// Close waits a bounded time. What awaits an answer then is uncertain, what was
// not sent is ErrClosed, and Close says that there was something.
func TestClosePublisherUnanswered(t *testing.T) {
	u := address(t, "create=true&heartbeat=10m")
	deaf, through := newProxy(t, u)
	p := openPublisher(t, &Backend{}, through)
	p.pipe.open(t)
	deaf.set(true, false)
	outcomes := make(chan error, 1)
	go func() { outcomes <- p.Publish(t.Context(), make([]messaging.Message, 5*laneWindow)...) }()
	for p.pipe.inFlight() == 0 {
		time.Sleep(time.Millisecond)
	}
	begun := time.Now()
	if err := p.Close(); err == nil {
		t.Error("Close is nil")
	}
	if took := time.Since(begun); took > closeBound+2*closeWait {
		t.Errorf("Close took %v", took)
	}
	err := <-outcomes
	wants(t, messaging.ErrorAt(err, 0), messaging.ErrUncertain)
	last := messaging.ErrorAt(err, 5*laneWindow-1)
	wants(t, last, messaging.ErrClosed)
	if errors.Is(last, messaging.ErrUncertain) {
		t.Error(last)
	}
	check(t, p.Close())
	wants(t, p.Publish(t.Context(), messaging.Message{}), messaging.ErrClosed)
}

// What AMQP cannot carry is refused, without harm to its neighbours and to the
// connection.
func TestPublishRefused(t *testing.T) {
	u := address(t, "create=true&max=1000")
	q, p := openQueue(t, &Backend{}, u), openPublisher(t, &Backend{}, u)
	long, huge := strings.Repeat("x", 256), strings.Repeat("x", 200<<10)
	msgs := []messaging.Message{
		{Body: make([]byte, 1000)},
		{Body: make([]byte, 1001)},
		{ID: long},
		{Subject: long},
		{Headers: messaging.Headers{{Key: "h", Value: huge}}},
		{Key: huge},
		{Headers: messaging.Headers{{Key: long, Value: "goes into the order"}}},
	}
	err := p.Publish(soon(t), msgs...)
	for i := range msgs {
		one := messaging.ErrorAt(err, i)
		if good := i == 0 || i == 6; good != (one == nil) || !good && !errors.Is(one, messaging.ErrTooLarge) {
			t.Errorf("place %d: %v", i, one)
		}
	}
	ds := receive(t, q, 2)
	if got := ds[1].Headers; len(got) != 1 || got[0] != msgs[6].Headers[0] {
		t.Errorf("headers %v", got)
	}
	plain := openPublisher(t, &Backend{NoEnvelope: true}, u)
	err = plain.Publish(soon(t), msgs[6], messaging.Message{Headers: messaging.Headers{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}})
	if messaging.ErrorAt(err, 0) == nil || !strings.Contains(err.Error(), "envelope=none") || messaging.ErrorAt(err, 1) != nil {
		t.Error(err)
	}
	if got := receive(t, q, 1)[0].Headers; len(got) != 2 || got[0].Key != "a" {
		t.Errorf("headers %v", got)
	}
}

func TestLargestIn(t *testing.T) {
	for reason, want := range map[string]int{
		"PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216": 16777216,
		"PRECONDITION_FAILED - message size 134217729 is larger than max size 134217728":          134217728,
		"PRECONDITION_FAILED - unknown delivery tag 1":                                            0,
	} {
		err := judged(&amqp.Error{Code: amqp.PreconditionFailed, Reason: reason, Server: true})
		if got, ok := largestIn(err); got != want || ok != (want > 0) {
			t.Errorf("%s: %d", reason, got)
		}
	}
}

// What the broker finds too large is ErrTooLarge, and known from then on. What
// was in flight beside it, on the channel that the broker closed for it, is
// taken.
func TestTooLargeForTheBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("it sends more than 128 MiB: run it without -short")
	}
	u := address(t, "create=true&type=classic")
	p := openPublisher(t, &Backend{}, u)
	large := messaging.Message{Body: make([]byte, 128<<20+1)} // RabbitMQ's default is 128 MiB, and 16 from 4.0 on
	for range 2 {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for range 20 {
					if err := p.Publish(soon(t), messaging.Message{}, messaging.Message{}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := p.Publish(ctx, messaging.Message{}, large, messaging.Message{})
		cancel()
		wg.Wait()
		for i := range 3 {
			one := messaging.ErrorAt(err, i)
			if (i == 1) != errors.Is(one, messaging.ErrTooLarge) || errors.Is(one, messaging.ErrUncertain) || i != 1 && one != nil {
				t.Errorf("place %d: %v", i, one)
			}
		}
	}
	if p.pipe.largest.Load() == 0 {
		t.Error("the limit was not learned")
	}
}
