package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"time"
)

// work is what one run does, the same for every contender of a group.
type work struct {
	Messages             int // how many are moved from publisher to acknowledgement
	Size                 int // bytes of a body
	Producers, Consumers int
}

// contender is one way to do the work.
type contender struct {
	name string

	// messages is how many a run moves. 0 is as many as take the CPU time that
	// everybody's runs take, so that a fast contender is not judged by a
	// moment.
	messages int

	// variants are the ways to configure it. The fastest one runs.
	variants []variant
}

// variant does the work, and calls m.start after what it needs to set up and
// m.stop before it tears that down.
type variant struct {
	name string
	run  func(ctx context.Context, w work, m *meter) error
}

// one is a contender with one variant.
func one(name string, run func(context.Context, work, *meter) error) contender {
	return contender{name: name, variants: []variant{{run: run}}}
}

// ahead is how many messages publishers get ahead of consumers, in the variants
// that bound it: enough that neither waits for the other, few enough that they
// meet in a cache.
const ahead = 1024

// paced is a contender whose publishers run freely or are held to at most ahead.
func paced(name string, run func(ctx context.Context, w work, m *meter, ahead int) error) contender {
	c := contender{name: name}
	for _, v := range []struct {
		name  string
		ahead int
	}{{"free", 0}, {fmt.Sprint(ahead, " ahead"), ahead}} {
		c.variants = append(c.variants, variant{v.name, func(ctx context.Context, w work, m *meter) error {
			return run(ctx, w, m, v.ahead)
		}})
	}
	return c
}

// meter measures the part of a run between start and stop.
type meter struct {
	sample
	contender string
	began     time.Time
	cpu       time.Duration
	memory    runtime.MemStats
}

// sample is what one run took. Its counters are of the whole process.
type sample struct {
	Messages  int             `json:"messages"`
	Elapsed   time.Duration   `json:"ns"`
	CPU       time.Duration   `json:"cpuNs"` // user and system
	Allocs    uint64          `json:"allocs"`
	Bytes     uint64          `json:"bytes"`
	P50       time.Duration   `json:"p50Ns,omitempty"`
	P99       time.Duration   `json:"p99Ns,omitempty"`
	Latencies []time.Duration `json:"-"`
}

// start also labels what it measures in a profile, this goroutine and those
// that it starts: go tool pprof -tagfocus measured=queue.
func (m *meter) start() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("measured", m.contender)))
	runtime.GC() // nobody pays for the garbage of another, nor of a set-up
	runtime.ReadMemStats(&m.memory)
	m.cpu = cpuTime()
	m.began = time.Now()
}

func (m *meter) stop(messages int) {
	defer pprof.SetGoroutineLabels(context.Background())
	m.Elapsed = time.Since(m.began)
	m.CPU = cpuTime() - m.cpu
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	m.Allocs = now.Mallocs - m.memory.Mallocs
	m.Bytes = now.TotalAlloc - m.memory.TotalAlloc
	m.Messages = messages
}

// per divides a total by the messages of the run.
func (s sample) per(total float64) float64 { return total / float64(max(s.Messages, 1)) }

// plan says how a group is measured.
type plan struct {
	rounds int
	run    time.Duration // how much CPU time a run should take
	few    int           // messages of a run, whatever its contender asks for; 0: no bound
	limit  time.Duration // when a run is given up
	seed   uint64
	say    func(format string, args ...any)
}

// series are the runs of one contender, one a round.
type series struct {
	Contender string   `json:"contender"`
	Variant   string   `json:"variant,omitempty"`
	Samples   []sample `json:"samples"`
}

// measure runs each contender once a round, in an order that is shuffled anew
// for each, so that whatever else this machine does meets all of them alike.
func (p plan) measure(ctx context.Context, w work, contenders []contender) (map[string]*series, error) {
	all := map[string]*series{}
	runs := make([]func() (sample, error), len(contenders))
	for i, c := range contenders {
		v, messages, err := p.calibrate(ctx, w, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		all[c.name] = &series{Contender: c.name, Variant: v.name}
		runs[i] = func() (sample, error) { return p.once(ctx, w.with(messages), c.name, v) }
	}
	order := rand.New(rand.NewPCG(p.seed, uint64(len(contenders))))
	for round := range p.rounds {
		p.say("round %d of %d", round+1, p.rounds)
		for _, i := range order.Perm(len(contenders)) {
			s, err := runs[i]()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[i].name, err)
			}
			its := all[contenders[i].name]
			its.Samples = append(its.Samples, s)
		}
	}
	return all, nil
}

func (w work) with(messages int) work {
	w.Messages = messages
	return w
}

// calibrate returns the fastest variant of c and how many messages a run of it
// moves. It is the warm-up, too.
func (p plan) calibrate(ctx context.Context, w work, c contender) (variant, int, error) {
	var best variant
	var fastest float64
	var messages int
	for _, v := range c.variants {
		n, err := p.size(ctx, w, c, v)
		if err != nil {
			return v, 0, err
		}
		if len(c.variants) == 1 {
			return v, n, nil
		}
		var rates []float64
		for range trials {
			s, err := p.once(ctx, w.with(n), c.name, v)
			if err != nil {
				return v, 0, err
			}
			rates = append(rates, s.rate())
		}
		r := quantile(rates, 0.5)
		p.say("%s, %s: %s", c.name, v.name, perSecond(r))
		if r > fastest {
			best, fastest, messages = v, r, n
		}
	}
	return best, messages, nil
}

const (
	trials = 3         // of each variant
	fewest = 1000      // messages of a run that is sized
	most   = 4_000_000 // messages of a run that is sized
)

// size finds how many messages a run of v should have. It goes by CPU time,
// which others on this machine disturb less than they do the clock.
func (p plan) size(ctx context.Context, w work, c contender, v variant) (int, error) {
	if c.messages > 0 {
		n := p.bound(c.messages)
		_, err := p.once(ctx, w.with(max(n/10, 1)), c.name, v)
		return n, err
	}
	for n := fewest; ; n *= 2 {
		s, err := p.once(ctx, w.with(p.bound(n)), c.name, v)
		switch {
		case err != nil:
			return 0, err
		case p.bound(n) < n || n >= most:
			return p.bound(n), nil
		case s.CPU >= p.run/2:
			sized := int(p.run.Seconds() / s.CPU.Seconds() * float64(n))
			return p.bound(min(max(sized, fewest), most)), nil
		}
	}
}

func (p plan) bound(n int) int {
	if p.few > 0 {
		return min(n, p.few)
	}
	return n
}

// once runs v once.
func (p plan) once(ctx context.Context, w work, name string, v variant) (sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, fmt.Errorf("the run of %d messages took longer than %v", w.Messages, p.limit))
	defer cancel()
	m := meter{contender: name}
	if err := v.run(ctx, w, &m); err != nil {
		return sample{}, errors.Join(err, context.Cause(ctx))
	}
	m.P50, m.P99 = quantile(m.Latencies, 0.5), quantile(m.Latencies, 0.99)
	return m.sample, nil
}

func (s sample) rate() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Messages) / s.Elapsed.Seconds()
}
