package memory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestCommitIsUpToThereAndNoFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g")
		publish(t, pub, "", numbers(0, 120)...)
		ds := receive(t, s, 120)
		for i, last := range []int{8, 9, 10, 50, 99, 100} {
			if i%2 == 0 {
				commit(t, s, ds[last])
			} else {
				commit(t, s, ds[last-1], ds[last], ds[0]) // in any order
			}
			// At or below it is nil, and moves nothing.
			commit(t, s, ds[last], ds[0])
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStream(t, b, "mem://s?group=g")
			ds = append(ds[:last+1], receive(t, s, 120-last-1)...)
			equal(t, "first after a commit", ds[last+1].Offset, messaging.Offset(fmt.Sprint(last+1)))
			for _, d := range ds[last+1:] {
				equal(t, "redelivered", d.Redelivered, true)
			}
			for i := range last + 1 {
				ds[i] = ds[last+1] // theirs are gone with the subscriber
			}
		}
		commit(t, s, ds[119])
		nothing(t, s, time.Hour)
	})
}

func TestCommitSettlesThePartitionsThatAreOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		s := openStream(t, b, "mem://s?group=g&handover=1s")
		publish(t, pub, keyOf(t, b, "s", 0), "0", "1")
		publish(t, pub, keyOf(t, b, "s", 1), "0", "1")
		var of [2][]*messaging.Delivery
		for _, d := range receive(t, s, 4) {
			of[d.Raw.(*Entry).pass.a.p.index] = append(of[d.Raw.(*Entry).pass.a.p.index], d)
		}
		other := openStream(t, b, "mem://s?group=g")
		time.Sleep(10 * time.Second)
		lost, ours := of[0], of[1]
		if closed(ours[0].Lease.Lost()) {
			lost, ours = ours, lost
		}
		err := s.Commit(t.Context(), lost[0], ours[0], lost[1], ours[1])
		for i, want := range []error{messaging.ErrLost, nil, messaging.ErrLost, nil} {
			is(t, fmt.Sprint("place ", i), messaging.ErrorAt(err, i), want)
		}
		err = s.Release(t.Context(), lost[0], ours[0])
		for i, want := range []error{messaging.ErrLost, nil} {
			is(t, fmt.Sprint("place of release ", i), messaging.ErrorAt(err, i), want)
		}
		equal(t, "the other's", places(take(t, other, 10)), places(lost))
		nothing(t, s, time.Hour)
	})
}

func TestSettlingWhatIsForeignIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s, other := openStream(t, b, "mem://s?group=g"), openStream(t, b, "mem://s?group=other")
		publish(t, pub, "", "a", "b")
		own, foreign := receive(t, s, 1), receive(t, other, 1)[0]
		queued := receive(t, openQueue(t, b, "mem://s"), 1)[0]
		raw := *own[0].Raw.(*Entry)
		copied := *own[0]
		copied.Raw = &raw
		bad := []*messaging.Delivery{
			nil, {}, {Raw: (*Entry)(nil)}, {Raw: new(Entry)}, {Raw: *own[0].Raw.(*Entry)}, {Raw: "x"}, foreign, queued, &copied,
		}
		for name, settle := range map[string]func(context.Context, ...*messaging.Delivery) error{"commit": s.Commit, "release": s.Release} {
			for i, d := range bad {
				if err := settle(t.Context(), d); err == nil || errors.Is(err, messaging.ErrLost) || errors.Is(err, messaging.ErrClosed) {
					t.Errorf("%s of foreign delivery %d: %v", name, i, err)
				}
			}
			err := settle(t.Context(), append(bad, own[0])...)
			if _, ok := errors.AsType[*messaging.BatchError](err); !ok {
				t.Fatalf("%s: %v is no BatchError", name, err)
			}
			for i := range bad {
				if messaging.ErrorAt(err, i) == nil {
					t.Errorf("%s of foreign delivery %d among others: nil", name, i)
				}
			}
			if err := messaging.ErrorAt(err, len(bad)); err != nil {
				t.Errorf("%s of our own among foreign ones: %v", name, err)
			}
			if err := settle(t.Context()); err != nil {
				t.Errorf("%s of nothing: %v", name, err)
			}
			own = receive(t, s, 1) // again, or the next
		}
		commit(t, other, foreign)
	})
}

func TestCommitOfACopiedDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g")
		publish(t, pub, "", "a")
		d := *receive(t, s, 1)[0]
		commit(t, s, &d)
	})
}

func TestReleaseSetsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		s := openStream(t, b, "mem://s?group=g")
		publish(t, pub, keyOf(t, b, "s", 0), numbers(0, 12)...)
		publish(t, pub, keyOf(t, b, "s", 1), numbers(0, 12)...)
		var first, other []*messaging.Delivery
		for _, d := range receive(t, s, 20) {
			if d.Partition == "0" {
				first = append(first, d)
			} else {
				other = append(other, d)
			}
		}
		if len(first) < 8 {
			first, other = other, first
		}
		commit(t, s, first[1])
		giveBack(t, s, first[7], first[5], first[6])

		is(t, "commit what was set back", s.Commit(t.Context(), first[5]), messaging.ErrLost)
		is(t, "commit a later one", s.Commit(t.Context(), first[7]), messaging.ErrLost)
		is(t, "release what was set back", s.Release(t.Context(), first[5]), messaging.ErrLost)
		equal(t, "lost", closed(first[5].Lease.Lost()), false)
		equal(t, "ending", closed(first[5].Lease.Ending()), false)
		commit(t, s, other[0])

		again := take(t, s, 100)
		next := 5
		for _, d := range again {
			if d.Partition == first[0].Partition {
				equal(t, "offset", d.Offset, messaging.Offset(fmt.Sprint(next)))
				equal(t, "redelivered", d.Redelivered, next < len(first))
				equal(t, "lease", d.Lease, first[0].Lease)
				next++
			}
		}
		equal(t, "end", next, 12)
		equal(t, "all", len(again), 24-20+len(first)-5)
		commit(t, s, first[4]) // it was before the place
		is(t, "commit the old one, with the new one in hand", s.Commit(t.Context(), first[6]), messaging.ErrLost)
	})
}

func TestReleaseIsNeverBelowTheCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g")
		publish(t, pub, "", numbers(0, 6)...)
		ds := receive(t, s, 6)
		commit(t, s, ds[2])
		giveBack(t, s, ds[1], ds[4])
		equal(t, "again", places(take(t, s, 10)), "0/3 0/4 0/5")
	})
}

// TestSettlingAgainstAModel settles at random, and knows what must come of it
// from a list of what is in hand.
func TestSettlingAgainstAModel(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=1&inflight=8")
			url := "mem://s?inflight=8"
			if seed%2 == 0 {
				url += "&group=g"
			}
			s := openStream(t, b, url)
			const n = 60
			publish(t, pub, "", numbers(0, n)...)
			var all []*messaging.Delivery
			var valid []bool
			offsetOf := func(i int) int { return int(all[i].Raw.(*Entry).offset) }
			committed, next := 0, 0
			for committed < n {
				switch i := rng.IntN(max(1, len(all))); {
				case len(all) == 0 || rng.IntN(3) == 0:
					if next-committed == 8 || next == n {
						continue
					}
					ds, err := s.Receive(t.Context(), 1+rng.IntN(4))
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range ds {
						equal(t, "offset", d.Offset, messaging.Offset(fmt.Sprint(next)))
						all, valid = append(all, d), append(valid, true)
						next++
					}
					if next-committed > 8 {
						t.Fatalf("seed %d: %d in hand", seed, next-committed)
					}
				case rng.IntN(2) == 0:
					err := s.Commit(t.Context(), all[i])
					switch o := offsetOf(i); {
					case o < committed:
						is(t, "commit below", err, nil)
					case !valid[i]:
						is(t, "commit of what was set back", err, messaging.ErrLost)
					default:
						is(t, "commit", err, nil)
						committed = o + 1
					}
				default:
					err := s.Release(t.Context(), all[i])
					if !valid[i] {
						is(t, "release of what was set back", err, messaging.ErrLost)
						continue
					}
					is(t, "release", err, nil)
					next = max(committed, offsetOf(i))
					for j := range all {
						valid[j] = valid[j] && offsetOf(j) < next
					}
				}
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			a := all[0].Raw.(*Entry).pass.a
			if len(a.passes) > 9 {
				t.Errorf("%d passes are kept of a window of 8", len(a.passes))
			}
			equal(t, "bytes in hand", s.(*stream).bytes, 0)
			if s.(*stream).g != nil {
				nothing(t, openStream(t, b, "mem://s?group=g"), time.Hour)
			}
		})
	}
}

func TestCommitWhoseReplyIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{Chaos: Chaos{LostReply: 0.5}, Seed: 1}
		pub := openPublisher(t, b, "mem://s?partitions=1")
		publish(t, pub, "", numbers(0, 100)...)
		s := openStream(t, b, "mem://s?group=g")
		uncertain := 0
		for _, d := range receive(t, s, 100) {
			for {
				err := s.Commit(t.Context(), d, nil)
				if messaging.ErrorAt(err, 1) == nil || errors.Is(messaging.ErrorAt(err, 1), messaging.ErrUncertain) {
					t.Errorf("a nil delivery: %v", err)
				}
				if err = messaging.ErrorAt(err, 0); err == nil {
					break
				}
				is(t, "commit", err, messaging.ErrUncertain)
				equal(t, "in hand", d.Raw.(*Entry).pass.a.committed.Load(), d.Raw.(*Entry).offset+1)
				uncertain++
			}
		}
		if uncertain < 50 || uncertain > 200 {
			t.Errorf("%d of 100 commits were uncertain", uncertain)
		}
	})
}
