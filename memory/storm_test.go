package memory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// storm drives the members of a group at random, one step at a time, and
// knows what may come of each step.
type storm struct {
	*testing.T
	seed uint64
	rng  *rand.Rand
	b    *Backend
	pub  messaging.Publisher

	members []*stormy
	frozen  map[*stormy]func()
	n       int // published
	splits  int

	committed map[string]int64            // by partition, as Commit said
	epoch     map[string]int              // of the latest delivery
	leases    map[*messaging.Lease]*stint // all that were ever seen
	done      map[string]bool             // bodies that were committed
	byKey     map[string]int              // the last that was committed for the first time
}

// stint is what is known of an assignment.
type stint struct {
	owner     *stormy
	partition string
	next      int64 // what must come next
}

type stormy struct {
	messaging.StreamSubscriber
	hand []*messaging.Delivery // by partition in the order of offsets
}

func TestGroupStorm(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			s := &storm{
				T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), b: &Backend{Seed: seed + 1},
				frozen: map[*stormy]func(){}, committed: map[string]int64{}, epoch: map[string]int{},
				leases: map[*messaging.Lease]*stint{}, done: map[string]bool{}, byKey: map[string]int{},
			}
			if seed%3 == 0 {
				s.b.Chaos.Move = 0.05
			}
			s.pub = openPublisher(t, s.b, "mem://s?partitions=3")
			for range 400 {
				s.step()
				s.check()
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			s.drain()
		})
	}
}

func (s *storm) step() {
	switch m := s.member(); s.rng.IntN(20) {
	case 0:
		if len(s.members) < 5 {
			url := fmt.Sprintf("mem://s?group=g&lease=30s&handover=10s&inflight=%d", 1+s.rng.IntN(20))
			s.members = append(s.members, &stormy{StreamSubscriber: openStream(s.T, s.b, url)})
		}
	case 1, 2, 3, 4:
		for range s.rng.IntN(10) {
			publish(s.T, s.pub, fmt.Sprint("key-", s.n%7), strconv.Itoa(s.n))
			s.n++
		}
	case 5:
		time.Sleep(time.Duration(s.rng.IntN(20)) * time.Second)
	case 6:
		s.reshape()
	case 7:
		s.end(m)
	case 8, 9, 10, 11, 12:
		s.receive(m)
	case 13:
		s.release(m)
	default:
		s.commit(m)
	}
	synctest.Wait()
}

// member returns one that is not frozen, or nil.
func (s *storm) member() *stormy {
	var awake []*stormy
	for _, m := range s.members {
		if s.frozen[m] == nil {
			awake = append(awake, m)
		}
	}
	if len(awake) == 0 {
		return nil
	}
	return awake[s.rng.IntN(len(awake))]
}

func (s *storm) receive(m *stormy) {
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Millisecond)
	defer cancel()
	ds, err := m.Receive(ctx, 1+s.rng.IntN(8))
	if errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if err != nil {
		s.Fatal(err)
	}
	for _, d := range ds {
		offset, _ := strconv.ParseInt(string(d.Offset), 10, 64)
		l := s.leases[d.Lease]
		if l == nil {
			l = &stint{m, d.Partition, s.committed[d.Partition]}
			s.leases[d.Lease] = l
			epoch, err := strconv.Atoi(d.Lease.Epoch)
			if err != nil || epoch <= s.epoch[d.Partition] {
				s.Errorf("partition %s: epoch %q after %d", d.Partition, d.Lease.Epoch, s.epoch[d.Partition])
			}
			s.epoch[d.Partition] = epoch
		}
		if l.owner != m || l.partition != d.Partition || l.next != offset {
			s.Errorf("got %s/%s, want %s/%d", d.Partition, d.Offset, l.partition, l.next)
		}
		l.next = offset + 1
		m.hand = append(m.hand, d)
	}
}

// commit commits some that are in hand, in any order.
func (s *storm) commit(m *stormy) {
	if m == nil || len(m.hand) == 0 {
		return
	}
	var ds []*messaging.Delivery
	for range 1 + s.rng.IntN(5) {
		ds = append(ds, m.hand[s.rng.IntN(len(m.hand))])
	}
	lost := make([]bool, len(ds))
	for i, d := range ds {
		lost[i] = closed(d.Lease.Lost())
	}
	err := m.Commit(s.Context(), ds...)
	for i, d := range ds {
		switch err := messaging.ErrorAt(err, i); {
		case lost[i]:
			is(s, "commit of a lost partition", err, messaging.ErrLost)
		case err != nil:
			s.Errorf("commit of %s/%s: %v", d.Partition, d.Offset, err)
		default:
			s.committed[d.Partition] = max(s.committed[d.Partition], d.Raw.(*Entry).offset+1)
		}
	}
	s.settled(m)
}

// settled takes what is committed, or lost, out of m's hand.
func (s *storm) settled(m *stormy) {
	var left []*messaging.Delivery
	for _, d := range m.hand {
		switch {
		case closed(d.Lease.Lost()) && d.Raw.(*Entry).offset >= s.committed[d.Partition]:
		case d.Raw.(*Entry).offset >= s.committed[d.Partition]:
			left = append(left, d)
		default:
			s.handled(d)
		}
	}
	m.hand = left
}

// handled checks the order of what is committed for the first time.
func (s *storm) handled(d *messaging.Delivery) {
	if s.done[string(d.Body)] {
		return
	}
	s.done[string(d.Body)] = true
	n, _ := strconv.Atoi(string(d.Body))
	if last, ok := s.byKey[d.Key]; ok && n != last+7 || !ok && n >= 7 {
		s.Errorf("%s: %d after %d", d.Key, n, last)
	}
	s.byKey[d.Key] = n
}

func (s *storm) release(m *stormy) {
	if m == nil || len(m.hand) == 0 {
		return
	}
	d := m.hand[s.rng.IntN(len(m.hand))]
	lost := closed(d.Lease.Lost())
	err := m.Release(s.Context(), d)
	if lost {
		is(s, "release of a lost partition", err, messaging.ErrLost)
		return
	}
	if err != nil {
		s.Error(err)
	}
	at := d.Raw.(*Entry).offset
	var left []*messaging.Delivery
	for _, other := range m.hand {
		if other.Lease != d.Lease || other.Raw.(*Entry).offset < at {
			left = append(left, other)
		}
	}
	m.hand = left
	s.leases[d.Lease].next = at
}

// end closes, crashes, freezes or thaws a member.
func (s *storm) end(m *stormy) {
	if m == nil || s.rng.IntN(3) == 0 {
		for m, thaw := range s.frozen {
			thaw()
			delete(s.frozen, m)
			s.settled(m)
			return
		}
		return
	}
	switch s.rng.IntN(3) {
	case 0:
		s.frozen[m] = freeze(s, s.b, m.StreamSubscriber)
		return
	case 1:
		crash(s, s.b, m.StreamSubscriber)
	default:
		if err := m.Close(); err != nil {
			s.Error(err)
		}
	}
	for i, other := range s.members {
		if other == m {
			s.members = append(s.members[:i], s.members[i+1:]...)
			return
		}
	}
}

// reshape splits a partition.
func (s *storm) reshape() {
	if s.splits++; s.splits > 4 {
		return
	}
	l := s.b.channels["s"].log
	p := l.open[s.rng.IntN(len(l.open))]
	if err := s.b.Split("s", p.name); err != nil {
		s.Error(err)
	}
}

// check looks at what must be so after every step.
func (s *storm) check() {
	held := map[string]int{}
	for l, stint := range s.leases {
		if closed(l.Lost()) {
			continue
		}
		if s.frozen[stint.owner] == nil {
			held[stint.partition]++
		}
	}
	for p, n := range held {
		if n > 1 {
			s.Errorf("partition %s has %d owners", p, n)
		}
	}
	g := s.b.channels["s"].log.groups["g"]
	if g == nil {
		return
	}
	for _, c := range g.claims {
		if at := c.committed.Load(); at != s.committed[c.p.name] {
			s.Errorf("partition %s: committed %d, want %d", c.p.name, at, s.committed[c.p.name])
		}
	}
}

// drain lets one member finish.
func (s *storm) drain() {
	s.b.SetChaos(Chaos{})
	for _, m := range s.members {
		if err := m.Close(); err != nil {
			s.Error(err)
		}
	}
	last := &stormy{StreamSubscriber: openStream(s.T, s.b, "mem://s?group=g")}
	time.Sleep(time.Minute) // leases of the crashed
	for range 1000 {
		s.receive(last)
		if len(last.hand) > 0 {
			d := last.hand[len(last.hand)-1]
			commit(s, last, d)
			s.committed[d.Partition] = d.Raw.(*Entry).offset + 1
			s.settled(last)
		}
	}
	equal(s, fmt.Sprint("seed ", s.seed, ": committed"), len(s.done), s.n)
	nothing(s, last, time.Hour)
}

// TestGroupStormInParallel is for the race detector, and for deadlocks.
func TestGroupStormInParallel(t *testing.T) {
	const n = 3000
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{Chaos: Chaos{Move: 0.02, LostReply: 0.02}, Seed: 1, Retain: 10_000}
		pub := openPublisher(t, b, "mem://s?partitions=4")
		openStream(t, b, "mem://s?group=g").Close()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var mu sync.Mutex
		done := map[string]bool{}
		member := func(seed uint64) {
			rng := rand.New(rand.NewPCG(seed, 2))
			for ctx.Err() == nil {
				s := openStream(t, b, "mem://s?group=g&lease=2s&handover=1s&inflight=50")
				for range 20 + rng.IntN(50) {
					ds, err := s.Receive(ctx, 1+rng.IntN(20))
					if err != nil {
						break
					}
					time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
					k := len(ds)
					if rng.IntN(10) == 0 {
						k = rng.IntN(k)
					}
					err = s.Commit(ctx, ds[:k]...)
					uncertain := errors.Is(err, messaging.ErrUncertain)
					for errors.Is(err, messaging.ErrUncertain) {
						err = s.Commit(ctx, ds[:k]...)
					}
					_ = s.Release(ctx, ds[k:]...)
					mu.Lock()
					for i, d := range ds[:k] {
						// Lost at the second try, it may have been applied at
						// the first: it is not known, but it is done, or comes
						// again.
						if messaging.ErrorAt(err, i) == nil || uncertain {
							done[string(d.Body)] = true
						}
					}
					if len(done) == n {
						cancel()
					}
					mu.Unlock()
				}
				switch rng.IntN(3) {
				case 0:
					crash(t, b, s)
				case 1:
					thaw := freeze(t, b, s)
					time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
					thaw()
				}
				s.Close()
			}
		}
		for i := range uint64(6) {
			wg.Go(func() { member(i) })
		}
		for i := range 3 {
			wg.Go(func() {
				for j := range n / 3 {
					publish(t, pub, fmt.Sprint("key-", j%50), fmt.Sprint(i, "-", j))
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Go(func() {
			for i := range 4 {
				time.Sleep(time.Second)
				if i%2 == 0 {
					split(t, b, fmt.Sprint(i))
				} else if err := b.AddPartitions("s", 1); err != nil {
					t.Error(err)
				}
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(time.Hour):
			cancel()
		}
		wg.Wait()
		equal(t, "committed", len(done), n)
	})
}
