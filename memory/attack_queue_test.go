package memory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// side is a queue's subscription.
type side struct {
	a     *attack
	group string
	url   string
	keyed bool
	late  bool // the subscription is created by its first subscriber, when something was published
	match *regexp.Regexp

	// Under the attack's mu.
	fates   map[*letter]*fate
	missing int // published and not acknowledged yet
}

// fate is what became of a message in a subscription.
type fate struct {
	seen   bool
	acks   int   // that are certain
	maybe  bool  // an ack of it may have been applied
	acking bool  // the call was begun
	last   int64 // when the latest certain one was
	first  int64 // when it was first seen
}

func newSide(a *attack, group, pattern string, keyed bool) *side {
	s := &side{a: a, group: group, keyed: keyed, fates: map[*letter]*fate{}}
	s.url = "mem://a?group=" + group + "&subject=" + strings.ReplaceAll(pattern, "#", "%23")
	if group == "" {
		s.url = strings.Replace(s.url, "group=&", "", 1)
	}
	if keyed {
		s.url += "&order=key"
	}
	// Every word behind a dot, so that # may be none of them.
	text := ""
	for word := range strings.SplitSeq(pattern, ".") {
		switch word {
		case "#":
			text += `(\.[^.]*)*`
		case "*":
			text += `\.[^.]*`
		default:
			text += `\.` + word
		}
	}
	s.match = regexp.MustCompile("^" + text + "$")
	return s
}

func (s *side) wants(l *letter) bool {
	subject := l.msg.Subject
	if subject != "" {
		subject = "." + subject
	}
	return s.match.MatchString(subject)
}

// done says whether all is acknowledged.
func (s *side) done() bool {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	return s.a.writing == 0 && s.missing == 0
}

func (s *side) consume(ctx context.Context, rng *rand.Rand) {
	if s.late {
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
	}
	for ctx.Err() == nil && !s.a.Failed() && !s.done() {
		url := fmt.Sprintf("%s&inflight=%d&lease=%dms&hold=%dms", s.url, 1+rng.IntN(100)+rng.IntN(2)*3000, 1+rng.IntN(50), 1+rng.IntN(200)*rng.IntN(2))
		sub := openQueue(s.a, s.a.b, url)
		s.use(ctx, sub, rng)
		switch rng.IntN(4) {
		case 0:
			crash(s.a, s.a.b, sub)
		case 1:
			thaw := freeze(s.a, s.a.b, sub)
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			thaw()
			s.use(ctx, sub, rng)
		}
		if err := sub.Close(); err != nil {
			s.a.fail("%v", err)
		}
	}
}

// use receives and settles for a while, some in several goroutines.
func (s *side) use(ctx context.Context, sub messaging.QueueSubscriber, rng *rand.Rand) {
	var wg sync.WaitGroup
	for range 1 + rng.IntN(3) {
		seed, rounds, hasty := rng.Uint64(), 1+rng.IntN(30), !s.keyed && rng.IntN(2) == 0
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			var hand []*messaging.Delivery
			for range rounds {
				if hasty {
					s.rush(ctx, sub, rng)
					continue
				}
				hand = append(hand, s.receive(ctx, sub, rng)...)
				rng.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
				if !s.keyed && rng.IntN(3) == 0 || s.keyed && rng.IntN(20) == 0 {
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
				}
				n := len(hand)
				if rng.IntN(4) == 0 {
					n = rng.IntN(n + 1)
				}
				s.settle(ctx, sub, rng, hand[:n])
				hand = slices.Delete(hand, 0, n)
			}
		})
	}
	wg.Wait()
}

// rush acknowledges first and looks later.
func (s *side) rush(ctx context.Context, sub messaging.QueueSubscriber, rng *rand.Rand) {
	began := s.a.clock.Add(1)
	wait, cancel := context.WithTimeout(ctx, time.Duration(1+rng.IntN(5))*time.Millisecond)
	defer cancel()
	ds, err := sub.Receive(wait, 3000)
	if err != nil {
		return
	}
	err = sub.Ack(ctx, ds...)
	letters := make([]*letter, len(ds))
	for i, d := range ds {
		if letters[i] = s.a.read(d); letters[i] == nil {
			return
		}
		s.check(letters[i], d, began)
	}
	s.acked(letters, err)
}

func (s *side) receive(ctx context.Context, sub messaging.QueueSubscriber, rng *rand.Rand) []*messaging.Delivery {
	began := s.a.clock.Add(1)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+rng.IntN(5))*time.Millisecond)
	defer cancel()
	ds, err := sub.Receive(ctx, 1+rng.IntN(60))
	if (err != nil) == (len(ds) > 0) {
		s.a.fail("received %d and %v", len(ds), err)
	}
	for _, d := range ds {
		if l := s.a.read(d); l != nil {
			s.check(l, d, began)
		}
	}
	return ds
}

// check looks whether l may come now, to a Receive that began then.
func (s *side) check(l *letter, d *messaging.Delivery, began int64) {
	a := s.a
	a.mu.Lock()
	defer a.mu.Unlock()
	f := s.fates[l]
	if f == nil {
		f = &fate{first: a.clock.Load()}
		s.fates[l] = f
	}
	most := 1
	if a.chaos.Duplicate > 0 && !s.keyed {
		most = 2
	}
	switch {
	case !s.wants(l):
		a.fail("%s: message %d has subject %q", s.url, l.n, l.msg.Subject)
	case f.acks >= most && f.last < began:
		a.fail("%s: message %d came after %d acks", s.url, l.n, f.acks)
	case f.seen && f.first < began && !d.Redelivered:
		a.fail("%s: message %d came again and is not Redelivered", s.url, l.n)
	case d.Attempt < 1 || d.Attempt > 1 && !d.Redelivered:
		a.fail("%s: message %d came with attempt %d, redelivered %v", s.url, l.n, d.Attempt, d.Redelivered)
	}
	f.seen = true
	if s.keyed && l.msg.Key != "" {
		for _, earlier := range a.keys[l.msg.Key][:l.turn] {
			if s.wants(earlier) && (s.fates[earlier] == nil || !s.fates[earlier].acking) {
				a.fail("%s: message %d of key %.20q came before %d was acknowledged", s.url, l.n, l.msg.Key, earlier.n)
			}
		}
	}
}

func (s *side) settle(ctx context.Context, sub messaging.QueueSubscriber, rng *rand.Rand, ds []*messaging.Delivery) {
	switch rng.IntN(8) {
	case 0:
		_ = sub.Nack(ctx, time.Duration(rng.IntN(5)*rng.IntN(3))*time.Millisecond, ds...)
		return
	case 1:
		_ = sub.Release(ctx, ds...)
		return
	case 2:
		return // to be lost, or given back by Close
	}
	a := s.a
	letters := make([]*letter, len(ds))
	for i, d := range ds {
		if letters[i] = a.read(d); letters[i] == nil {
			return
		}
	}
	a.mu.Lock()
	for _, l := range letters {
		s.fates[l].acking = true
	}
	a.mu.Unlock()
	s.acked(letters, sub.Ack(ctx, ds...))
}

// acked takes down how an Ack ended.
func (s *side) acked(letters []*letter, err error) {
	a := s.a
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock.Add(1)
	for i, l := range letters {
		f := s.fates[l]
		before := f.acks > 0 || f.maybe
		switch err := messaging.ErrorAt(err, i); {
		case err == nil:
			f.acks++
			f.last = now
			if most := 2; f.acks > most || f.acks == most && (s.keyed || a.chaos.Duplicate == 0) {
				a.fail("%s: message %d was acknowledged %d times", s.url, l.n, f.acks)
			}
		case strings.Contains(err.Error(), messaging.ErrUncertain.Error()):
			f.maybe = true
		}
		if !before && (f.acks > 0 || f.maybe) {
			s.missing--
			a.progress.Add(1)
		}
	}
}

// empty looks whether something is left that must not be.
func (s *side) empty(t *testing.T) {
	sub := openQueue(t, s.a.b, s.url+"&inflight=100000")
	defer sub.Close()
	for {
		began := s.a.clock.Add(1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		ds, err := sub.Receive(ctx, 1000)
		cancel()
		if err != nil {
			break
		}
		for _, d := range ds {
			if l := s.a.read(d); l != nil && !s.keyed {
				s.check(l, d, began)
			}
		}
		if err := sub.Ack(t.Context(), ds...); err != nil {
			s.a.fail("%v", err)
		}
	}
	if !s.done() {
		s.a.fail("%s: %d are missing", s.url, s.missing)
	}
}
