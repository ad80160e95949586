package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// showProgress says on standard error every second how far it is, when
// something has changed, until stop is called.
func (t *tour) showProgress() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		last := ""
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if now := t.progress(); now != last {
					fmt.Fprintln(t.stderr, "quickstart:", now)
					last = now
				}
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

func (t *tour) progress() string {
	parts := []string{comma(int(t.published.Load())) + " published"}
	if t.queue != nil {
		parts = append(parts, countOf(t.queue.settled)+" through the queue")
	}
	if t.stream != nil {
		parts = append(parts, countOf(t.stream.followed.seen)+" followed", countOf(t.stream.replayed.seen)+" replayed")
	}
	return strings.Join(parts, ", ")
}

func countOf(t *tally) string {
	n, _ := t.count()
	return comma(n)
}

// report prints what happened.
func (t *tour) report(w io.Writer) {
	fmt.Fprintf(w, "%s of %s%s\n", count(t.lines.read, "line"), t.in.name, t.notPublished())
	fmt.Fprintf(w, "published    %s to %s in %v\n", count(int(t.published.Load()), "message"), shown(t.url), t.took.Round(time.Millisecond/10))
	if t.key.n > 0 {
		fmt.Fprintf(w, "key          %v\n", t.key)
	}
	if t.queue != nil {
		t.queue.report(w)
	} else {
		fmt.Fprintf(w, "\nqueue: left out, this channel has none\n")
	}
	if t.stream != nil {
		t.stream.report(w)
	} else {
		fmt.Fprintf(w, "\nstream: left out, this channel has none\n")
	}
}

// notPublished says what became of the lines that are not messages.
func (t *tour) notPublished() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{t.lines.blank, "blank"},
		{t.lines.tooLong, "above 16 MiB"},
		{t.refused, "too large for the broker"},
		{t.failed, "failed or uncertain"},
	} {
		if p.n > 0 {
			parts = append(parts, comma(p.n)+" "+p.what)
		}
	}
	if parts == nil {
		return ""
	}
	return ", not published: " + strings.Join(parts, ", ")
}

func (q *queueHalf) report(w io.Writer) {
	fmt.Fprintf(w, "\nqueue: %d workers share the messages; what fails comes again after %v\n", len(q.workers), pause)
	fmt.Fprintf(w, "             %9s %9s %9s\n", "started", "handled", "failed")
	handled, failed := 0, 0
	for _, worker := range q.workers {
		row(w, worker.name, worker.handled, worker.failed)
		handled += worker.handled
		failed += worker.failed
	}
	row(w, "together", handled, failed)
	for _, dead := range q.dead {
		fmt.Fprintf(w, "dead letter  %s\n", dead)
	}
	published := int(q.t.published.Load())
	settled, again := q.settled.count()
	fmt.Fprintf(w, "in all       %s published = %s handled + %s + %s left\n",
		comma(published), comma(settled-len(q.dead)), count(len(q.dead), "dead letter"), comma(published-settled))
	if again > 0 {
		fmt.Fprintf(w, "             %s were handled again, as at-least-once delivery allows\n", comma(again))
	}
	if n := q.leftovers.Load(); n > 0 {
		fmt.Fprintf(w, "             %s more were left by earlier runs, and are settled now\n", comma(int(n)))
	}
	if n := q.troubles.Load(); n > 0 {
		fmt.Fprintf(w, "             something else failed %s, see standard error\n", count(int(n), "time"))
	}
}

func row(w io.Writer, name string, handled, failed int) {
	fmt.Fprintf(w, "%-12s %9s %9s %9s\n", name, comma(handled+failed), comma(handled), comma(failed))
}

func (s *streamHalf) report(w io.Writer) {
	published := int(s.t.published.Load())
	fmt.Fprintf(w, "\nstream: the same messages in order, and again from the log\n")
	for _, r := range []struct {
		name string
		*reading
	}{{"followed", s.followed}, {"replayed", s.replayed}} {
		fmt.Fprintf(w, "%-12s %s of %s%s\n", r.name, countOf(r.seen), comma(published), r.order())
	}
	if n, _ := s.replayed.seen.count(); n == published {
		same := "the same messages in the same places, both times"
		if !s.replayed.sameAs(s.followed) {
			same = "the two differ"
		}
		fmt.Fprintf(w, "compared     %s\n", same)
	}
}

// order says in what order the messages came, if any did.
func (r *reading) order() string {
	if len(r.partitions) == 0 {
		return ""
	}
	order := "each in order"
	if r.misplaced > 0 {
		order = count(r.misplaced, "message") + " out of order"
	}
	return fmt.Sprintf(", %s, %s: %s", count(len(r.partitions), "partition"), count(len(r.latest), "key"), order)
}

// count writes "1 line" and "2,000 lines".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return comma(n) + " " + one + "s"
}

// comma writes 1234567 as 1,234,567.
func comma(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
