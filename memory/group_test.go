package memory

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// owners returns which of the subscribers owns each partition now, by asking
// the group.
func owners(tb testing.TB, all ...messaging.StreamSubscriber) []int {
	tb.Helper()
	g := all[0].(*stream).g
	g.mu.Lock()
	defer g.mu.Unlock()
	var of []int
	for _, c := range g.claims {
		i := -1
		if c.owner != nil {
			i = slices.IndexFunc(all, func(s messaging.StreamSubscriber) bool { return s == c.owner.s })
		}
		of = append(of, i)
	}
	return of
}

// shares counts what each owns, and checks that it is balanced.
func shares(tb testing.TB, of []int, members int) {
	tb.Helper()
	count := make([]int, members)
	for p, i := range of {
		if i < 0 || i >= members {
			tb.Fatalf("partition %d is owned by %d of %d: %v", p, i, members, of)
		}
		count[i]++
	}
	if slices.Max(count)-slices.Min(count) > 1 {
		tb.Errorf("unbalanced: %v", count)
	}
}

func moved(before, after []int) int {
	n := 0
	for p := range before {
		if before[p] != after[p] {
			n++
		}
	}
	return n
}

func TestGroupSharesEvenlyAndMovesLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		var all []messaging.StreamSubscriber
		var before []int
		for n := 1; n <= 20; n++ {
			all = append(all, openStream(t, b, "mem://s?partitions=16&group=g"))
			after := owners(t, all...)
			shares(t, after, n)
			if n > 1 {
				equal(t, fmt.Sprint("moved by member ", n), moved(before, after), 16/n)
			}
			before = after
		}
		for n := 19; n > 0; n-- {
			if err := all[0].Close(); err != nil {
				t.Fatal(err)
			}
			gone := 0
			for p := range before {
				if before[p]--; before[p] < 0 {
					gone++
				}
			}
			all = all[1:]
			after := owners(t, all...)
			shares(t, after, n)
			equal(t, fmt.Sprint("moved with ", n, " left"), moved(before, after), gone)
			before = after
		}
	})
}

func TestRebalanceMovesNothingThatIsBalanced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		all := []messaging.StreamSubscriber{openStream(t, b, "mem://s?partitions=3&group=g"), openStream(t, b, "mem://s?group=g")}
		g := all[0].(*stream).g
		equal(t, "owners", fmt.Sprint(owners(t, all...)), "[1 0 0]")
		// As chaos does: now the second member has one more than the first.
		g.mu.Lock()
		g.claims[1].target = all[1].(*stream)
		g.claims[1].move()
		g.mu.Unlock()
		for range 3 {
			g.refresh()
			equal(t, "owners", fmt.Sprint(owners(t, all...)), "[1 1 0]")
		}
	})
}

func TestGroupsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		publish(t, pub, "", numbers(0, 10)...)
		for _, group := range []string{"billing", "billing-2", "billing "} {
			s := openStream(t, b, "mem://s?group="+strings.ReplaceAll(group, " ", "%20"))
			ds := take(t, s, 3)
			equal(t, "deliveries to "+group, len(ds), 10)
			for _, d := range ds {
				equal(t, "redelivered", d.Redelivered, false)
			}
			commit(t, s, ds...)
		}
	})
}

func TestHandOverInOrder(t *testing.T) {
	for _, give := range []string{"commit", "release", "both"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=2")
			old := openStream(t, b, "mem://s?group=g&handover=10s")
			publish(t, pub, "", numbers(0, 20)...)
			var leaves []*messaging.Delivery
			ds := receive(t, old, 10)
			ds = append(ds, receive(t, old, 4)...)
			next := openStream(t, b, "mem://s?group=g")
			publish(t, pub, "", numbers(20, 40)...)
			stays := 0
			for _, d := range ds {
				if closed(d.Lease.Ending()) {
					leaves = append(leaves, d)
				} else {
					stays++
				}
				equal(t, "lost", closed(d.Lease.Lost()), false)
			}
			if len(leaves) < 3 || stays < 3 {
				t.Fatalf("%d deliveries leave, %d stay", len(leaves), stays)
			}
			for _, d := range take(t, old, 5) {
				if d.Partition == leaves[0].Partition {
					t.Fatalf("%s/%s was delivered after Ending", d.Partition, d.Offset)
				}
			}
			nothing(t, next, time.Second)
			first := len(leaves) // of the new owner
			switch give {
			case "commit":
				commit(t, old, leaves...)
			case "release":
				giveBack(t, old, leaves...)
				first = 0
			case "both":
				giveBack(t, old, leaves[2:]...)
				equal(t, "lost with two in hand", closed(leaves[0].Lease.Lost()), false)
				commit(t, old, leaves[0], leaves[1])
				first = 2
			}
			equal(t, "lost when all is settled", closed(leaves[0].Lease.Lost()), true)
			is(t, "commit of the old owner", old.Commit(t.Context(), leaves[0]), messaging.ErrLost)
			got := receive(t, next, 20-first)
			for i, d := range got {
				equal(t, "place", d.Partition+"/"+string(d.Offset), leaves[0].Partition+fmt.Sprint("/", first+i))
				equal(t, "redelivered", d.Redelivered, first+i < len(leaves))
			}
			older, _ := strconv.Atoi(leaves[0].Lease.Epoch)
			newer, _ := strconv.Atoi(got[0].Lease.Epoch)
			if older < 1 || newer <= older {
				t.Errorf("epoch %q after %q", got[0].Lease.Epoch, leaves[0].Lease.Epoch)
			}
		})
	}
}

func TestHandOverIsBounded(t *testing.T) {
	for _, bound := range []time.Duration{0, time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=1")
			old := openStream(t, b, "mem://s?group=g&handover="+bound.String())
			publish(t, pub, "", "0", "1")
			ds := receive(t, old, 2)
			commit(t, old, ds[0])
			// The only partition goes to whoever is left.
			old.(*stream).g.mu.Lock()
			old.(*stream).g.claims[0].target = nil
			old.(*stream).g.claims[0].handOver()
			old.(*stream).g.mu.Unlock()
			if bound > 0 {
				time.Sleep(bound - 1)
				synctest.Wait()
				equal(t, "lost before the bound", closed(ds[1].Lease.Lost()), false)
				equal(t, "ending before the bound", closed(ds[1].Lease.Ending()), true)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
			}
			equal(t, "lost at the bound", closed(ds[1].Lease.Lost()), true)
			is(t, "commit", old.Commit(t.Context(), ds[1]), messaging.ErrLost)
			equal(t, "bytes in hand", old.(*stream).bytes, 0)
			next := openStream(t, b, "mem://s?group=g")
			other := places(append(take(t, next, 1), take(t, old, 1)...))
			equal(t, "next", other, "0/1")
		})
	}
}

func TestGroupStartsWhereItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		publish(t, pub, "", numbers(0, 10)...)
		time.Sleep(time.Second)
		at := time.Now().UTC().Format(time.RFC3339)
		publish(t, pub, "", numbers(10, 20)...)
		for start, want := range map[string]int{
			"":                                  20,
			"start=earliest":                    20,
			"start=latest":                      0,
			"start=" + at:                       10,
			"start=3&partition=1":               17,
			"start=10&partition=1":              10,
			"start=0&partition=0":               20,
			"start=2100-01-01T00:00:00Z":        0,
			"start=0001-01-01T00:00:00Z":        20,
			"start=1999-12-31T23:59:59.5Z":      20,
			"start=1999-12-31T23:59:59%2b01:00": 20,
		} {
			s := openStream(t, b, fmt.Sprintf("mem://s?group=g%x&%s", start, start))
			equal(t, start, len(take(t, s, 100)), want)
			// It applies only where the group has no cursor.
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again := openStream(t, b, fmt.Sprintf("mem://s?start=latest&group=g%x", start))
			equal(t, start+", again", len(take(t, again, 100)), want)
		}
	})
}

func TestLatestIsFixedByTheFirstOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		publish(t, pub, "", numbers(0, 10)...)
		s := openStream(t, b, "mem://s?group=g&start=latest&lease=1s")
		if err := b.Crash(s); err != nil {
			t.Fatal(err)
		}
		publish(t, pub, "", numbers(10, 20)...)
		if err := b.AddPartitions("s", 2); err != nil {
			t.Fatal(err)
		}
		publish(t, pub, "", numbers(20, 40)...)
		time.Sleep(time.Second)
		got := bodies(take(t, openStream(t, b, "mem://s?group=g&start=latest"), 100))
		equal(t, "messages", len(got), 30)
		for _, body := range got {
			if len(body) < 2 {
				t.Errorf("got %s, which is older", body)
			}
		}
	})
}

func TestGroupOfAnUncreatedName(t *testing.T) {
	b := new(Backend)
	openPublisher(t, b, "mem://s")
	_, err := b.OpenStream(t.Context(), parse(t, "mem://s?group=g&create=false"))
	is(t, "open", err, messaging.ErrNotFound)
	openStream(t, b, "mem://s?group=g")
	openStream(t, b, "mem://s?group=g&create=false")
}

func TestChaosMovesPartitions(t *testing.T) {
	for members := range 3 {
		synctest.Test(t, func(t *testing.T) {
			b := &Backend{Chaos: Chaos{Move: 0.3}, Seed: uint64(members)}
			pub := openPublisher(t, b, "mem://s?partitions=2")
			publish(t, pub, "", numbers(0, 200)...)
			var all []messaging.StreamSubscriber
			for range members + 1 {
				all = append(all, openStream(t, b, "mem://s?group=g&handover=1s"))
			}
			done, epochs, ended, lost := map[string]bool{}, map[string]bool{}, 0, 0
			for deadline := time.Now().Add(time.Hour); len(done) < 200 && time.Now().Before(deadline); {
				for _, s := range all {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					ds, err := s.Receive(ctx, 3)
					cancel()
					if err != nil {
						continue
					}
					epochs[ds[0].Partition+"/"+ds[0].Lease.Epoch] = true
					if closed(ds[0].Lease.Ending()) {
						ended++
					}
					if closed(ds[0].Lease.Lost()) {
						lost++
					}
					err = s.Commit(t.Context(), ds...)
					for i, d := range ds {
						if messaging.ErrorAt(err, i) == nil {
							done[string(d.Body)] = true
						}
					}
				}
			}
			equal(t, "committed", len(done), 200)
			if ended == lost || lost == 0 || len(epochs) < 10 {
				t.Errorf("%d ended, of them %d were lost at once, %d assignments", ended, lost, len(epochs))
			}
		})
	}
}

// publishing is a log handler that publishes what it hears.
type publishing struct {
	slog.Handler
	mu   sync.Mutex
	pub  messaging.Publisher
	said map[string]int
}

func (p *publishing) Handle(ctx context.Context, r slog.Record) error {
	p.mu.Lock()
	p.said[r.Message]++
	pub := p.pub
	p.mu.Unlock()
	if pub == nil {
		return nil
	}
	return pub.Publish(ctx, messaging.Message{Body: []byte(r.Message)})
}

func TestTheLoggerHearsRebalances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &publishing{Handler: slog.NewTextHandler(nil, nil), said: map[string]int{}}
		b := &Backend{Logger: slog.New(h)}
		pub := openPublisher(t, b, "mem://s?partitions=2")
		h.mu.Lock()
		h.pub = pub // it must not be called with anything locked
		h.mu.Unlock()
		publish(t, pub, "", numbers(0, 10)...)
		first := openStream(t, b, "mem://s?group=g&handover=1s&lease=1s")
		ds := receive(t, first, 10)
		openStream(t, b, "mem://s?group=g")
		time.Sleep(time.Minute)
		commit(t, first, slices.DeleteFunc(ds, func(d *messaging.Delivery) bool { return closed(d.Lease.Lost()) })...)
		if err := b.Split("s", "0"); err != nil {
			t.Fatal(err)
		}
		if err := b.Crash(first); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, what := range []string{"subscriber joined", "partition assigned", "partition ending", "lease lost", "subscriber timed out"} {
			if h.said["memory: "+what] == 0 {
				t.Errorf("nothing of %q in %v", what, slices.Collect(maps.Keys(h.said)))
			}
		}
	})
}
