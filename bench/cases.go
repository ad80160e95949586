package main

import (
	"fmt"
	"slices"
)

// group is work with its contenders, which run in turn, and the rows of the
// table that come of it.
type group struct {
	work       work
	contenders []contender
	rows       []row
}

// row compares one contender of ours with the best of its peers.
type row struct {
	name   string
	ours   string
	peers  []string
	metric metric
	target target
}

// cases are all that is measured. A broker adds groups of its own.
func cases() []group {
	return slices.Concat(throughputCases(), []group{handoverCases()}, outstandingCases(), consumeCases(), rabbitCases(), kafkaCases())
}

// throughputCases move messages from publishers to acknowledgement, both
// flavours beside both peers.
func throughputCases() []group {
	peers := []string{"watermill", "mempubsub"}
	batching := []string{"watermill batch", "mempubsub"}
	most := target{atLeast: 10, allocs: 3}
	var groups []group
	for _, size := range []int{128, 1024} {
		for _, n := range []int{1, 16} {
			g := group{
				work:       work{Size: size, Producers: n, Consumers: n},
				contenders: []contender{fastWatermill("watermill", 1), fastWatermill("watermill batch", received), documented("watermill documented"), cdk()},
			}
			for _, f := range []flavour{queue, stream} {
				each, batch, through, short := string(f), string(f)+" batch", string(f)+" Consume", string(f)+" plain"
				g.contenders = append(g.contenders, ours(f, each, 1), ours(f, batch, received), consumed(f, through))
				at := fmt.Sprintf("throughput/%s/%dB/%dx%d", f, size, n, n)
				g.rows = append(g.rows,
					row{at + "/each", each, peers, rate, most},
					row{at + "/Consume", through, peers, rate, most},
					row{at + "/batch", batch, batching, rate, most},
					row{at + "/documented", each, []string{"watermill documented", "mempubsub"}, rate, most},
				)
				if size == 128 && n == 1 {
					g.contenders = append(g.contenders, plain(f, short))
					g.rows = append(g.rows, row{at + "/plain", short, peers, rate, target{}})
				}
			}
			groups = append(groups, g)
		}
	}
	return groups
}

// handoverCases time single messages to a consumer that waits.
func handoverCases() group {
	bare := []string{"bare channel", "buffered channel"}
	g := group{
		work: work{Size: 128, Producers: 1, Consumers: 1},
		contenders: []contender{
			bareChannel("bare channel", 0), bareChannel("buffered channel", 256), handoverWatermill(),
		},
	}
	for _, f := range []flavour{queue, stream} {
		each, through := string(f), string(f)+" Consume"
		g.contenders = append(g.contenders, handoverOurs(f, each, false), handoverOurs(f, through, true))
		at := fmt.Sprintf("handover/%s", f)
		g.rows = append(g.rows,
			row{at + "/Receive", each, bare, p99, target{atMost: 3}},
			row{at + "/Consume", through, bare, p99, target{}},
			row{at + "/peer", each, []string{"watermill"}, p99, target{}},
		)
	}
	return g
}

// outstandingCases compare ours with much outstanding to ours with little.
func outstandingCases() []group {
	var groups []group
	for _, c := range []struct {
		flavour    flavour
		held       bool
		size       int
		partitions int
	}{
		{queue, false, 128, 1},
		{queue, true, 128, 1},
		{stream, false, 128, 1},
		// A subscriber holds at most 64 MiB, and 8 of each partition.
		{stream, true, 16, 16},
	} {
		state := "ready"
		if c.held {
			state = "unsettled"
		}
		few, many := "1 thousand", "1 million"
		groups = append(groups, group{
			work: work{Size: c.size, Producers: 1, Consumers: 1},
			contenders: []contender{
				outstanding(c.flavour, few, 1000, c.held, c.partitions),
				outstanding(c.flavour, many, 1_000_000, c.held, c.partitions),
			},
			rows: []row{{fmt.Sprintf("outstanding/%s/%s/%dB", c.flavour, state, c.size), many, []string{few}, cpu, target{atMost: 1.5}}},
		})
	}
	return groups
}

// consumeCases compare Consume, its handler empty, with a loop of Receive and
// Ack or Commit that asks for as many as Consume has handlers.
func consumeCases() []group {
	var groups []group
	for _, f := range []flavour{queue, stream} {
		for _, n := range []int{1, 16, 256} {
			through, loop, long := "Consume", fmt.Sprintf("loop of %d", n), fmt.Sprintf("long loop of %d", received)
			at := fmt.Sprintf("consume/%s/%d", f, n)
			g := group{
				work:       work{Size: 128, Producers: 1, Consumers: n},
				contenders: []contender{drain(f, loop, n, n, 0), drain(f, through, n, 0, n)},
				rows:       []row{{at, through, []string{loop}, cpu, target{atMost: 2}}},
			}
			if n == 1 {
				g.contenders = append(g.contenders, drain(f, long, n, received, 0))
				g.rows = []row{
					{at, through, []string{loop}, cost, target{atMost: 1.3}},
					{at + "/long", through, []string{long}, cost, target{}},
				}
			}
			groups = append(groups, g)
		}
	}
	return groups
}

// of returns g with the rows that match, and the contenders that they need.
func (g group) of(match func(string) bool) group {
	some := group{work: g.work}
	needed := map[string]bool{}
	for _, r := range g.rows {
		if match(r.name) {
			some.rows = append(some.rows, r)
			for _, name := range append([]string{r.ours}, r.peers...) {
				needed[name] = true
			}
		}
	}
	for _, c := range g.contenders {
		if needed[c.name] {
			some.contenders = append(some.contenders, c)
		}
	}
	return some
}
