package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func split(tb testing.TB, b *Backend, partition string) {
	tb.Helper()
	if err := b.Split("s", partition); err != nil {
		tb.Fatal(err)
	}
}

func TestAddPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		group := []messaging.StreamSubscriber{openStream(t, b, "mem://s?group=g"), openStream(t, b, "mem://s?group=g&start=latest")}
		alone, bounded, one := openStream(t, b, "mem://s?start=latest"), openStream(t, b, "mem://s?end=now"), openStream(t, b, "mem://s?partition=0")
		waiting := make(chan []*messaging.Delivery)
		go func() {
			ds, err := alone.Receive(t.Context(), 100)
			if err != nil {
				t.Error(err)
			}
			waiting <- ds
		}()
		synctest.Wait()
		if err := b.AddPartitions("s", 2); err != nil {
			t.Fatal(err)
		}
		shares(t, owners(t, group...), 2)
		publish(t, pub, keyOf(t, b, "s", 3), "3")
		equal(t, "who reads alone", places(<-waiting), "3/0")
		for i := range 100 {
			publish(t, pub, fmt.Sprint(i), fmt.Sprint(i))
		}
		used := map[string]bool{}
		for _, s := range group {
			for _, d := range take(t, s, 100) {
				used[d.Partition] = true
			}
		}
		equal(t, "partitions", len(used), 4)
		equal(t, "with an end", len(replay(t, bounded)), 0)
		for _, d := range take(t, one, 100) {
			equal(t, "partition", d.Partition, "0")
		}
	})
}

func TestSplitKeepsTheOrderOfKeys(t *testing.T) {
	for _, query := range []string{"", "?group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=2")
			s := openStream(t, b, "mem://s"+query)
			n := 0
			send := func() {
				for range 40 {
					publish(t, pub, fmt.Sprint("key-", n%20), fmt.Sprint(n))
					n++
				}
			}
			send()
			first := take(t, s, 100)
			split(t, b, "0") // all of it was delivered, and not committed
			send()
			split(t, b, "2")
			send()
			split(t, b, "1")
			send()
			second := take(t, s, 1000)
			for _, d := range second {
				equal(t, "partition before its parent is committed", d.Partition, "1")
			}
			last, seen := map[string]int{}, 0
			check := func(ds []*messaging.Delivery) {
				for _, d := range ds {
					var i int
					if _, err := fmt.Sscan(string(d.Body), &i); err != nil {
						t.Fatal(err)
					}
					if prev, ok := last[d.Key]; ok && i != prev+20 {
						t.Errorf("%s: %d after %d", d.Key, i, prev)
					}
					last[d.Key] = i
					seen++
				}
			}
			check(first)
			check(second)
			commit(t, s, append(first, second...)...)
			for seen < n {
				ds := receive(t, s, 1)
				check(ds)
				commit(t, s, ds...)
			}
			equal(t, "all", seen, n)
			nothing(t, s, time.Hour)
		})
	}
}

func TestSplitInAGroupOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		var all []messaging.StreamSubscriber
		for range 3 {
			all = append(all, openStream(t, b, "mem://s?group=g"))
		}
		publish(t, pub, "", numbers(0, 4)...)
		split(t, b, "0")
		split(t, b, "1")
		for i := range 40 {
			publish(t, pub, fmt.Sprint(i), "child")
		}
		i := owners(t, all...)[0]
		for _, s := range append(all[:i:i], all[i+1:]...) {
			nothing(t, s, time.Minute)
		}
		parent := take(t, all[i], 100)
		equal(t, "parent", places(parent), "0/0 0/1 0/2 0/3")
		commit(t, all[i], parent[2])
		equal(t, "owners of the parent", owners(t, all...)[0], i)
		commit(t, all[i], parent[3])
		commit(t, all[i], parent[3]) // again, when the partition is over
		of := owners(t, all...)
		equal(t, "owner of the parent, of which all is committed", of[0], -1)
		equal(t, "owner of an empty parent", of[1], -1)
		shares(t, of[2:], 3)
		n, used := 0, map[string]bool{}
		for _, s := range all {
			ds := take(t, s, 100)
			n += len(ds)
			for _, d := range ds {
				used[d.Partition] = true
			}
			commit(t, s, ds...)
		}
		equal(t, "children", n, 40)
		equal(t, "children that share the keys", len(used), 3)
	})
}

func TestSplitEndsWhoReadsOnePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s, all := openStream(t, b, "mem://s?partition=0"), openStream(t, b, "mem://s")
		publish(t, pub, "", "0")
		replayAll(t, s, 1)
		replayAll(t, all, 1)
		group := openStream(t, b, "mem://s?group=g")
		replayAll(t, group, 1)
		done := make(chan error)
		go func() {
			_, err := s.Receive(t.Context(), 1)
			done <- err
		}()
		synctest.Wait()
		split(t, b, "0")
		is(t, "the end of the partition", <-done, io.EOF)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := all.Receive(ctx, 1)
		is(t, "who reads all", err, context.DeadlineExceeded)
		publish(t, pub, "k", "1")
		replayAll(t, all, 1)
		replayAll(t, group, 1)
		// What is over can be read again, and its children after it.
		equal(t, "replay", places(replay(t, openStream(t, b, "mem://s?end=now")))[:3], "0/0")
		equal(t, "replay of it alone", places(replay(t, openStream(t, b, "mem://s?partition=0"))), "0/0")
		late := openStream(t, b, "mem://s?group=late")
		replayAll(t, late, 1)
		replayAll(t, late, 1)
		latest := openStream(t, b, "mem://s?group=latest&start=latest")
		publish(t, pub, "k", "2")
		equal(t, "a group from now on", len(replayAll(t, latest, 1)), 1)
		nothing(t, latest, time.Hour)
	})
}

func TestSplitOfWhatWasTrimmed(t *testing.T) {
	for _, query := range []string{"", "&group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=1")
			s := openStream(t, b, "mem://s?trimmed=skip"+query)
			publish(t, pub, "k", numbers(0, 5)...)
			split(t, b, "0")
			publish(t, pub, "k", "5")
			if err := b.Trim("s", "0", "5"); err != nil {
				t.Fatal(err)
			}
			equal(t, "after the gap", bodies(receive(t, s, 1))[0], "5")
		})
	}
}

func TestSplitOfWhatIsInHandAndThenTrimmed(t *testing.T) {
	for _, query := range []string{"", "&group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=1")
			s := openStream(t, b, "mem://s?trimmed=skip&inflight=3"+query)
			publish(t, pub, "k", numbers(0, 5)...)
			split(t, b, "0")
			publish(t, pub, "k", "5")
			ds := receive(t, s, 3)
			giveBack(t, s, ds[2])
			if err := b.Trim("s", "0", "5"); err != nil {
				t.Fatal(err)
			}
			nothing(t, s, time.Minute)
			commit(t, s, ds[1])
			equal(t, "after the gap", bodies(receive(t, s, 1))[0], "5")
		})
	}
}

func TestSplitOfAnEmptyPartition(t *testing.T) {
	for _, query := range []string{"", "&group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=1")
			s := openStream(t, b, "mem://s?inflight=100"+query)
			publish(t, pub, "k", "0")
			split(t, b, "0")
			split(t, b, "1")
			split(t, b, "2")
			publish(t, pub, "k", "1")
			ds := take(t, s, 10)
			equal(t, "before", places(ds), "0/0")
			commit(t, s, ds...)
			equal(t, "after", bodies(receive(t, s, 1))[0], "1")
		})
	}
}

func TestReshapeErrors(t *testing.T) {
	b := new(Backend)
	openPublisher(t, b, "mem://s?partitions=1")
	is(t, "split of no channel", b.Split("x", "0"), messaging.ErrNotFound)
	is(t, "split of no partition", b.Split("s", "1"), messaging.ErrNotFound)
	is(t, "add to no channel", b.AddPartitions("x", 1), messaging.ErrNotFound)
	for _, n := range []int{0, -1, mostPartitions} {
		if err := b.AddPartitions("s", n); err == nil {
			t.Errorf("%d partitions were added", n)
		}
	}
	split(t, b, "0")
	if err := b.Split("s", "0"); err == nil || errors.Is(err, messaging.ErrNotFound) {
		t.Errorf("split again: %v", err)
	}
	p := 1
	for range mostSplits - 1 {
		split(t, b, fmt.Sprint(p))
		p += 2
	}
	if err := b.Split("s", fmt.Sprint(p)); err == nil {
		t.Error("split without end")
	}
}
