package memory

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

var attackFor = flag.Duration("attack", 2*time.Second, "how long TestAttack goes on with new seeds")

var attackSeed = flag.Uint64("attack.seed", 0, "the one seed of TestAttack; 0 is a new one for each round")

// TestAttack lets many do many things to one channel at once, publishers and
// subscribers of both flavours, under chaos and real concurrency, and looks
// into every message that comes: it is one that was published, whole, in its
// place, not after its end, and none is missing. Rounds differ in everything,
// by a seed. TestModel and TestGroupStorm know more of what is to come, of
// small messages and one thing at a time.
func TestAttack(t *testing.T) {
	end := time.Now().Add(*attackFor)
	for round := 0; round == 0 || time.Now().Before(end) && !t.Failed(); round++ {
		seed := cmp.Or(*attackSeed, rand.Uint64())
		if seed%2 == 0 {
			newAttack(t, seed).run(t) // leases end at any moment of the machine's
		} else {
			synctest.Test(t, func(t *testing.T) { newAttack(t, seed).run(t) })
		}
	}
}

type attack struct {
	testing.TB
	b     *Backend
	seed  uint64
	rng   *rand.Rand // of who plans
	url   string
	chaos Chaos
	moves bool // partitions are added: a key's order ends there
	hash  maphash.Seed
	clock atomic.Int64 // events, in the order in which they were seen

	streams  bool
	sides    []*side
	courses  []*course
	progress atomic.Int64 // messages that were published, acknowledged or committed

	mu      sync.Mutex
	letters map[uint64]*letter // by what is in them
	n       int
	keys    map[string][]*letter
	places  map[string]*letter // by partition and offset
	writing int                // publishers that are not done
}

func newAttack(t testing.TB, seed uint64) *attack {
	a := &attack{
		TB: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), hash: maphash.MakeSeed(),
		letters: map[uint64]*letter{}, places: map[string]*letter{}, keys: map[string][]*letter{},
	}
	a.b = &Backend{Seed: seed | 1, MaxMessage: 8 << 20}
	return a
}

// fail names the seed.
func (a *attack) fail(format string, args ...any) {
	a.Helper()
	a.Errorf("seed %d: "+format, append([]any{a.seed}, args...)...)
}

// run is one round.
func (a *attack) run(t *testing.T) {
	pub := a.plan(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watching sync.WaitGroup
	over := make(chan struct{})
	watching.Go(func() { a.watch(over, cancel) })
	a.fight(ctx, pub)
	close(over)
	watching.Wait()
	if ctx.Err() != nil {
		a.stalled()
		return
	}
	a.b.SetChaos(Chaos{})
	time.Sleep(100 * time.Millisecond) // leases and delays
	if a.chaos.Reorder > 0 {
		time.Sleep(time.Second) // what it holds back
	}
	for _, s := range a.sides {
		s.empty(t)
	}
	for _, c := range a.courses {
		c.complete()
	}
	if a.streams && !strings.Contains(a.url, "retain") {
		a.replay(t)
	}
	if err := pub.Close(); err != nil {
		a.fail("%v", err)
	}
	a.freed()
}

// plan decides what the round is like.
func (a *attack) plan(t *testing.T) messaging.Publisher {
	a.url = "mem://a" + a.one("?kind=queue", "?kind=queue", "?kind=stream", "?", "?", "?") + a.one("", "&partitions=1", "&partitions=7") +
		a.one("", "", "&dedup=1h") + a.one("", "&retain=0", "&retain=100000")
	a.streams = !strings.Contains(a.url, "kind=queue")
	for _, p := range []*float64{&a.chaos.Duplicate, &a.chaos.Reorder, &a.chaos.LostReply, &a.chaos.Expire, &a.chaos.Move} {
		if a.rng.IntN(3) == 0 {
			*p = a.rng.Float64() * 0.1
		}
	}
	a.moves = a.rng.IntN(2) == 0
	a.b.SetChaos(a.chaos)
	a.Logf("seed %d: %s chaos %+v", a.seed, a.url, a.chaos)
	pub := openPublisher(t, a.b, a.url)
	if !strings.Contains(a.url, "kind=stream") {
		a.planSides(t)
	}
	if a.streams {
		for i := range 1 + a.rng.IntN(3) {
			a.courses = append(a.courses, newCourse(a, fmt.Sprint("s", i)))
			openStream(t, a.b, a.courses[i].url).Close()
		}
	}
	return pub
}

func (a *attack) one(of ...string) string { return of[a.rng.IntN(len(of))] }

// planSides creates subscriptions. The default one may be opened later, when
// something was published, or never: then it keeps what retain= says.
func (a *attack) planSides(t *testing.T) {
	if a.rng.IntN(3) > 0 {
		s := newSide(a, "", "#", a.rng.IntN(3) == 0)
		s.late = !strings.Contains(a.url, "retain") && a.rng.IntN(2) == 0
		a.sides = append(a.sides, s)
	}
	for i := range a.rng.IntN(5) {
		pattern := a.one("#", "a.#", "#.b", "*.b.#", "a", "*.*", "#.c.#", "zz")
		a.sides = append(a.sides, newSide(a, fmt.Sprint("g", i), pattern, a.rng.IntN(2) == 0))
	}
	for _, s := range a.sides {
		if !s.late {
			openQueue(t, a.b, s.url).Close()
		}
	}
}

// fight returns when all is published, acknowledged and committed.
func (a *attack) fight(ctx context.Context, pub messaging.Publisher) {
	var wg sync.WaitGroup
	streams := uint64(0)
	fork := func(f func(rng *rand.Rand)) {
		streams++
		rng := rand.New(rand.NewPCG(a.seed, streams))
		wg.Go(func() { f(rng) })
	}
	a.writing = 3
	for who := range a.writing {
		fork(func(rng *rand.Rand) { a.publish(ctx, pub, who, rng) })
	}
	for _, s := range a.sides {
		for range 1 + a.rng.IntN(4) {
			fork(func(rng *rand.Rand) { s.consume(ctx, rng) })
		}
	}
	for _, c := range a.courses {
		for range 1 + a.rng.IntN(4) {
			fork(func(rng *rand.Rand) { c.follow(ctx, rng) })
		}
	}
	if a.streams {
		fork(a.reshape)
	}
	wg.Wait()
}

func (a *attack) stalled() {
	a.fail("stalled")
	for _, s := range a.sides {
		a.Logf("%s: %d of %d are missing", s.url, s.missing, a.n)
	}
	for _, c := range a.courses {
		a.Logf("%s: committed %v of %d", c.url, c.committed, a.n)
	}
}

// watch cancels when nothing comes further any more.
func (a *attack) watch(over <-chan struct{}, cancel func()) {
	for before := int64(-1); ; {
		select {
		case <-over:
			return
		case <-time.After(30 * time.Second):
		}
		if now := a.progress.Load(); now == before {
			cancel()
		} else {
			before = now
		}
	}
}

// freed looks whether pages are left that nobody needs.
func (a *attack) freed() {
	c := a.b.channels["a"]
	if n := c.pages.reading.Load(); n != 0 {
		a.fail("%d are reading", n)
	}
	if g := c.pages.open; g != nil && g.refs.Load() != 1 && c.claimed {
		a.fail("the open page has %d references", g.refs.Load())
	}
	for _, s := range c.routes {
		if s.ready() > 0 || len(s.later.events) > 0 || len(s.twins) > 0 || s.told != nil || s.waiters.n > 0 || s.opened > 0 || len(s.lanes) > mostIdle {
			a.fail("%v has %d ready, %d scheduled, %d twins, told %v, %d waiting, %d open, %d lanes", s, s.ready(), len(s.later.events), len(s.twins), s.told, s.waiters.n, s.opened, len(s.lanes))
		}
	}
}

// reshape adds partitions and splits some.
func (a *attack) reshape(rng *rand.Rand) {
	for range rng.IntN(5) {
		time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
		var err error
		if a.moves && rng.IntN(2) == 0 {
			err = a.b.AddPartitions("a", 1+rng.IntN(3))
		} else {
			c := a.b.channels["a"]
			c.mu.Lock()
			name := c.log.open[rng.IntN(len(c.log.open))].name
			c.mu.Unlock()
			err = a.b.Split("a", name)
		}
		if err != nil {
			a.fail("%v", err)
		}
	}
}
