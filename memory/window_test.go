package memory

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestStreamWindowIsPerPartition(t *testing.T) {
	for _, group := range []string{"", "&group=g"} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=3")
			s := openStream(t, b, "mem://s?inflight=10"+group)
			publish(t, pub, "", numbers(0, 300)...)
			of := map[string][]*messaging.Delivery{}
			hold := func(max int) {
				for _, d := range take(t, s, max) {
					of[d.Partition] = append(of[d.Partition], d)
				}
			}
			hold(7)
			for p, ds := range of {
				equal(t, "in hand of partition "+p, len(ds), 10)
			}
			equal(t, "partitions", len(of), 3)
			// One is stuck, the others go on, by exactly what is committed.
			for range 9 {
				commit(t, s, of["1"][len(of["1"])-1], of["2"][len(of["2"])-7])
				hold(7)
			}
			equal(t, "stuck", len(of["0"]), 10)
			equal(t, "committed to the end", len(of["1"]), 100)
			equal(t, "committed but for 6", len(of["2"]), 10+9*4)
			// It does not shrink when something is set back.
			giveBack(t, s, of["0"][3])
			equal(t, "again", len(take(t, s, 1)), 7)
		})
	}
}

func TestStreamWindowWakesAReceiveThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g&inflight=1")
		publish(t, pub, "", numbers(0, 3)...)
		d := receive(t, s, 1)[0]
		for range 2 {
			got := make(chan *messaging.Delivery)
			go func() {
				ds, err := s.Receive(t.Context(), 1)
				if err != nil {
					t.Error(err)
					close(got)
					return
				}
				got <- ds[0]
			}()
			synctest.Wait()
			if d.Offset == "0" {
				commit(t, s, d)
			} else {
				giveBack(t, s, d)
			}
			d = <-got
		}
		equal(t, "offset", d.Offset, "1")
		equal(t, "redelivered", d.Redelivered, true)
	})
}

func TestStreamWindowInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=10")
		s := openStream(t, b, "mem://s?group=g")
		body := make([]byte, 1<<20-100)
		for range 100 {
			if err := pub.Publish(t.Context(), messaging.Message{Body: body}); err != nil {
				t.Fatal(err)
			}
		}
		count := map[string]int{}
		ds := take(t, s, 3)
		for _, d := range ds {
			count[d.Partition]++
		}
		// 64 of them are 64 MiB, and each partition may have one in any case.
		if len(ds) < 64 || len(ds) > 64+10 {
			t.Errorf("%d MiB in hand, want 64", len(ds))
		}
		equal(t, "partitions", len(count), 10)
		for p, n := range count {
			if n > 8 {
				t.Errorf("%d MiB in hand of partition %s", n, p)
			}
		}
		commit(t, s, ds...)
		equal(t, "bytes in hand", s.(*stream).bytes, 0)
	})
}

func TestStreamWindowIsNeverLessThanOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		s := openStream(t, b, "mem://s?group=g")
		for range 2 {
			if err := pub.Publish(t.Context(), messaging.Message{Body: make([]byte, 12<<20)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			ds := receive(t, s, 1)
			nothing(t, s, time.Minute)
			commit(t, s, ds...)
		}
	})
}
