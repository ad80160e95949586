package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// replay reads to the end, committing as it goes.
func replay(tb testing.TB, s messaging.StreamSubscriber) []*messaging.Delivery {
	tb.Helper()
	var all []*messaging.Delivery
	for {
		ds, err := s.Receive(context.Background(), 7)
		if err == io.EOF { // itself, as Subscriber.Receive says
			return all
		}
		if err != nil {
			tb.Fatal(err)
		}
		commit(tb, s, ds...)
		all = append(all, ds...)
	}
}

func TestReadingAlone(t *testing.T) {
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // synctest's
	at := func(i int) string { return begin.Add(time.Duration(i) * time.Second).Format(time.RFC3339) }
	for query, want := range map[string]int{
		"end=now":                                50,
		"start=earliest&end=now":                 50,
		"start=latest&end=now":                   0,
		"start=" + at(2) + "&end=now":            30,
		"end=" + at(2):                           20,
		"start=" + at(1) + "&end=" + at(4):       30,
		"start=" + at(1) + "&end=" + at(1):       0,
		"partition=1&end=now":                    25,
		"partition=1&start=20&end=now":           5,
		"partition=1&start=9&end=11":             2,
		"partition=0&start=25&end=25":            0,
		"partition=0&start=" + at(4) + "&end=25": 5,
		"partition=0&start=9&end=" + at(2):       1,
		"partition=1&start=latest&end=now":       0,
		"start=1969-12-31T23:59:59Z&end=now":     50,
		"start=2099-01-01T00:00:00Z&end=now":     0,
		"partition=1&start=0&end=" + at(0):       0,
		"partition=1&end=0":                      0,
		"end=1970-01-01T00:00:00Z":               0,
		"end=0001-01-01T00:00:00Z":               0,
		"start=latest&end=" + at(5):              0,
		"partition=1&inflight=1&end=now":         25,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := new(Backend)
			pub := openPublisher(t, b, "mem://s?partitions=2")
			for i := range 5 {
				publish(t, pub, "", numbers(10*i, 10*i+10)...)
				time.Sleep(time.Second)
			}
			idle := openStream(t, b, "mem://s?group=idle")
			s := openStream(t, b, "mem://s?"+query)
			publish(t, pub, "", "later", "later")
			before := time.Now()
			for range 2 {
				got := replay(t, s)
				equal(t, query, len(got), want)
				equal(t, "time", time.Since(before), 0)
				reached := map[string]messaging.Offset{}
				for _, d := range got {
					if o := reached[d.Partition]; o != "" && d.Offset.Compare(o) <= 0 {
						t.Errorf("%s: %s after %s", query, d.Offset, o)
					}
					reached[d.Partition] = d.Offset
					if string(d.Body) == "later" || d.Redelivered || closed(d.Lease.Ending()) {
						t.Errorf("%s: got %q, redelivered %v", query, d.Body, d.Redelivered)
					}
				}
				// The end stays where it is, and Commit has recorded nothing.
				_, err := s.Receive(t.Context(), 1)
				is(t, query+" after the end", err, io.EOF)
				if strings.HasSuffix(query, "end=now") {
					break // it is another now
				}
				s = openStream(t, b, "mem://s?"+query)
			}
			equal(t, "for others", len(take(t, idle, 100)), 52)
		})
	}
}

func TestEndOfWhatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		publish(t, pub, "", numbers(0, 5)...)
		s := openStream(t, b, "mem://s?end=now")
		ds := receive(t, s, 5)
		_, err := s.Receive(t.Context(), 1)
		is(t, "all was delivered", err, io.EOF)
		giveBack(t, s, ds[3])
		again := receive(t, s, 2)
		equal(t, "again", places(again), "0/3 0/4")
		equal(t, "redelivered", again[0].Redelivered, true)
		_, err = s.Receive(t.Context(), 1)
		is(t, "all was delivered again", err, io.EOF)
		commit(t, s, again...)
		_, err = s.Receive(t.Context(), 1)
		is(t, "all was committed", err, io.EOF)
	})
}

func TestEndWaitsForTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		publish(t, pub, "", numbers(0, 5)...)
		s := openStream(t, b, "mem://s?end=now&inflight=3")
		ds := receive(t, s, 3)
		nothing(t, s, time.Hour)
		commit(t, s, ds...)
		equal(t, "rest", places(replay(t, s)), "0/3 0/4")
	})
}

func TestEndInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=2")
		publish(t, pub, "", "0")
		begin := time.Now()
		in := func(d time.Duration) string { return begin.Add(d).UTC().Format(time.RFC3339) }
		stops := openStream(t, b, "mem://s?end="+in(10*time.Second))
		byOffset := openStream(t, b, "mem://s?partition=1&end=2")
		go func() {
			for i := range 15 {
				time.Sleep(time.Second)
				publish(t, pub, keyOf(t, b, "s", 1), fmt.Sprint(i+1))
			}
		}()
		equal(t, "bodies", strings.Join(bodies(replay(t, byOffset)), " "), "0 1")
		got := replay(t, stops)
		equal(t, "bodies", strings.Join(bodies(got), " "), "0 1 2 3 4 5 6 7 8 9")
		equal(t, "time", time.Since(begin), 10*time.Second)

		// The wall clock may be put forward while nothing is published.
		time.Sleep(time.Minute)
		stops = openStream(t, b, "mem://s?start=latest&end="+in(3*time.Hour))
		go func() {
			time.Sleep(time.Minute)
			b.StepClock(3 * time.Hour)
		}()
		begin = time.Now()
		equal(t, "after the step", len(replay(t, stops)), 0)
		if took := time.Since(begin); took < time.Minute || took > time.Minute+clockStep {
			t.Errorf("the end came after %v", took)
		}
	})
}

func TestStartByATimeWhoseClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		stamp := func() string { return time.Now().Add(time.Duration(b.skew.Load())).UTC().Format(time.RFC3339) }
		var stamps []string
		for i, step := range []time.Duration{0, 0, time.Hour, 0, -2 * time.Hour, 0, 3 * time.Hour, 0} {
			b.StepClock(step)
			time.Sleep(time.Second)
			stamps = append(stamps, stamp())
			publish(t, pub, "", fmt.Sprint(i))
		}
		// Messages that fill segments, and are older than all of those.
		b.StepClock(-5 * time.Hour)
		body := strings.Repeat(" ", 1000)
		for range 200 {
			publish(t, pub, "", body)
		}
		for from, stamp := range stamps {
			got := replay(t, openStream(t, b, "mem://s?end=now&start="+stamp))
			first := got[0]
			want := from
			for i, other := range stamps[:from] {
				if other >= stamp {
					want = i
					break
				}
			}
			equal(t, "first since "+stamp, string(first.Body), fmt.Sprint(want))
			equal(t, "all", len(got), 208-want)
		}
		equal(t, "after all", len(replay(t, openStream(t, b, "mem://s?end=now&start=2099-01-01T00:00:00Z"))), 0)

		// When the record that made a segment late is gone, nothing is missed.
		if err := b.Trim("s", "0", "3"); err != nil {
			t.Fatal(err)
		}
		got := replay(t, openStream(t, b, "mem://s?end=now&start="+stamps[2]))
		for _, want := range []string{"3", "6", "7"} {
			found := false
			for _, d := range got {
				found = found || string(d.Body) == want
			}
			if !found {
				t.Errorf("%s is missing", want)
			}
		}
	})
}

func TestBadPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		for _, query := range []string{
			"start=now", "start=-1", "start=007", "start=1.5", "start=99999999999999999999&partition=0", "start=tomorrow",
			"start=2026-01-02", "start=2026-01-02T03:04:05+01:00", "end=latest", "end=earliest", "end=x",
			"group=g&end=now", "group=g&partition=0", "group=g&partition=0&start=latest",
			"start=5", "end=5", "group=g&start=5",
			"partition=0&start=5&end=4", "start=2026-01-02T03:04:06Z&end=2026-01-02T03:04:05Z",
		} {
			if _, err := b.OpenStream(t.Context(), parse(t, "mem://s?"+query)); err == nil {
				t.Errorf("%s: no error", query)
			}
		}
		equal(t, "channels made by bad urls", len(b.channels), 0)
		publish(t, openPublisher(t, b, "mem://s?partitions=2"), keyOf(t, b, "s", 0), numbers(0, 5)...)
		for query, want := range map[string]error{
			"partition=2": messaging.ErrNotFound, "partition=-1": messaging.ErrNotFound, "partition=00": messaging.ErrNotFound,
			"partition=x": messaging.ErrNotFound, "partition=%2b1": messaging.ErrNotFound, "partition=7&group=g&start=0": messaging.ErrNotFound,
			"partition=0&start=6": nil, "partition=0&group=g&start=6": nil,
		} {
			_, err := b.OpenStream(t.Context(), parse(t, "mem://s?"+query))
			if err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", query, err, want)
			}
		}
		equal(t, "groups made by bad urls", len(b.channels["s"].log.groups), 0)
	})
}

func FuzzPosition(f *testing.F) {
	for _, text := range []string{"", "earliest", "latest", "0", "5", "007", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456789+01:00", "-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u := &url.URL{Scheme: "mem", Host: "s", RawQuery: url.Values{"start": {text}, "partition": {"0"}}.Encode()}
		b := new(Backend)
		s, err := b.OpenStream(context.Background(), u)
		if err != nil {
			return
		}
		if _, err := parseOffset(messaging.Offset(text)); err == nil && text != "0" {
			t.Errorf("start=%s is beyond the end", text)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is published by the end belongs to it, also where a partition was added
// or split meanwhile; what comes later does not, and nobody has to commit for
// it.
func TestEndInTheFutureOfMorePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		begin := time.Now()
		end := "end=" + begin.Add(10*time.Second).UTC().Format(time.RFC3339)
		s, one := openStream(t, b, "mem://s?"+end), openStream(t, b, "mem://s?partition=0&"+end)
		go func() {
			for i := range 15 {
				if i == 3 {
					if err := b.AddPartitions("s", 1); err != nil {
						t.Error(err)
					}
				}
				if i == 6 || i == 13 {
					split(t, b, fmt.Sprint(i%5)) // 1 into 2 and 3, then 3
				}
				publish(t, pub, "", fmt.Sprint(i, "a"), fmt.Sprint(i, "b"), fmt.Sprint(i, "c"))
				time.Sleep(time.Second)
			}
		}()
		seen := map[string]bool{}
		for d, err := range messaging.Deliveries(t.Context(), s, 3) {
			if err != nil {
				t.Fatal(err)
			}
			seen[string(d.Body)] = true
			if i, _ := strconv.Atoi(strings.TrimRight(string(d.Body), "abc")); i >= 10 {
				t.Errorf("%s was published after the end", d.Body)
			}
			commit(t, s, d)
		}
		equal(t, "messages", len(seen), 30)
		equal(t, "time", time.Since(begin), 10*time.Second)
		equal(t, "of one partition", len(replay(t, one)) < 30, true)
		time.Sleep(5 * time.Second)
		_, err := s.Receive(t.Context(), 1)
		is(t, "after a split beyond the end", err, io.EOF)
	})
}

// The last partition of a reader who has committed nothing came of a split
// after the end, or has nothing before it: that is the end.
func TestEndDoesNotWaitForWhatComesAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		publish(t, pub, "", "0", "1")
		s := openStream(t, b, "mem://s?end="+time.Now().Add(10*time.Second).UTC().Format(time.RFC3339))
		equal(t, "received", len(receive(t, s, 2)), 2)
		split(t, b, "0")
		time.Sleep(20 * time.Second)
		publish(t, pub, "", "later", "later")
		_, err := s.Receive(t.Context(), 1)
		is(t, "after the end", err, io.EOF)
	})
}

// A split partition of which end= leaves something out is read to its end when
// the rest is committed.
func TestEndInsideAPartitionThatWasSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://s?partitions=1")
		publish(t, pub, "", "0", "1")
		b.StepClock(time.Hour)
		publish(t, pub, "", "an hour ahead")
		b.StepClock(-time.Hour)
		split(t, b, "0")
		publish(t, pub, "", "2", "3")
		time.Sleep(time.Second)
		s := openStream(t, b, "mem://s?end="+time.Now().UTC().Format(time.RFC3339))
		got := map[string]bool{}
		for range 4 {
			d := receive(t, s, 1)[0]
			got[string(d.Body)] = true
			commit(t, s, d)
		}
		equal(t, "bodies", fmt.Sprint(slices.Sorted(maps.Keys(got))), "[0 1 2 3]")
		_, err := s.Receive(t.Context(), 1)
		is(t, "after the end", err, io.EOF)
	})
}
