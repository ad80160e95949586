package conformance

import (
	"net/url"
	"strings"
	"time"
)

// patterns are subscriptions, each with something that only a plain reading of
// the sentence gets right.
var patterns = []string{
	"order.*.created", "order.#", "#.created", "*", "order.eu.created", "#.eu.#", "*.*", "order.*.#.created",
}

// subjects are what is published to them.
var subjects = []string{
	"order.eu.created", "order.us.created", "order.eu.deleted", "order", "orderXeuXcreated", "order.eu.de.created",
	"created", "order.created", "orders.eu.created", "order.eu.created.late", "eu", "ORDER.eu.created", "order..created",
}

// fan is one group of a channel and who works on it.
type fan struct {
	open
	*workers
	subject string
	lease   time.Duration
	reached chan struct{}
	stop    func()
}

// driveFanout has many groups of one channel, some with much the same name,
// some that want only a part, each with two consumers.
func driveFanout(r *run) {
	fans := r.fans()
	p := must[*publisher](r)(r.publisher(open{}))
	r.reach(p, fans)
	half := r.size(1600) / 2
	r.fan(p, fans, half, false)
	for _, f := range fans[:2] {
		extra, stop := r.team(f.workers, 1, f.open)
		defer func() { stop(); _ = extra[0].Close() }()
	}
	r.fan(p, fans, half, true)
	for _, f := range fans {
		f.await(f.lease)
	}
	r.probe(fans[0].open)
	for _, f := range fans {
		f.stop()
	}
}

// fans opens the groups.
func (r *run) fans() []*fan {
	var fans []*fan
	long := strings.Repeat("a-group-with-a-long-name-", 2)
	add := func(name, subject string) {
		f := &fan{subject: subject, reached: make(chan struct{})}
		f.params = url.Values{"group": {name}, "inflight": {"20"}}
		if subject != "" {
			f.params.Set("subject", subject)
		}
		f.workers = r.workers(func(_, visit int) step {
			select {
			case <-f.reached:
			default:
				close(f.reached)
			}
			return step{kind: Ack}
		})
		qs, stop := r.team(f.workers, 2, f.open)
		f.stop, f.lease = stop, qs[0].Capabilities().Lease
		fans = append(fans, f)
	}
	add(long+"a", "")
	add(long+"b", "")
	for i, pattern := range patterns {
		add("routed-"+string(rune('a'+i)), pattern)
	}
	return fans
}

// reach publishes until something has come to every group: where brokers take
// their time to know a pattern, what is published before may go astray.
func (r *run) reach(p *publisher, fans []*fan) {
	for _, f := range fans {
		for range 20 {
			subject := ""
			for _, s := range subjects {
				if matches(f.subject, s) {
					subject = s
				}
			}
			_ = r.send(p, r.rng, 1, shape{subjects: []string{subject}})
			t := time.NewTimer(r.timing.Redelivery)
			select {
			case <-f.reached:
			case <-t.C:
				continue
			}
			t.Stop()
			break
		}
	}
}

// fan publishes count messages and tells the groups what to expect.
func (r *run) fan(p *publisher, fans []*fan, count int, last bool) {
	for _, n := range r.send(p, r.rng, count, shape{subjects: subjects}) {
		r.recorder.mu.Lock()
		subject := r.h.Messages[n-1].Subject
		r.recorder.mu.Unlock()
		for _, f := range fans {
			if matches(f.subject, subject) {
				f.expect(false, n)
			}
		}
	}
	for _, f := range fans {
		f.expect(last)
	}
}

// driveOrdered has two consumers fail messages of a queue with order, in every
// way, before they acknowledge them.
func driveOrdered(r *run) {
	rng := r.random(1)
	paths := map[int][]step{}
	w := r.workers(func(n, visit int) step {
		path, ok := paths[n]
		if !ok {
			path = aside(rng, step{kind: Nack}, step{kind: Nack, delay: time.Second}, step{kind: Release})
			paths[n] = path
		}
		if visit > len(path) {
			return step{kind: Ack}
		}
		return path[visit-1]
	})
	o := open{ordered: true, params: params("inflight", "20")}
	qs, stop := r.team(w, 2, o)
	p := must[*publisher](r)(r.publisher(o))
	w.expect(true, r.send(p, r.rng, r.size(1500), shape{keys: 300})...)
	r.finishQueue(w, qs, stop, o)
}
