// Package conformance checks whether a backend keeps the contract of package
// messaging, and shows how it does not.
//
// A rule is one sentence of the contract. The suite drives a backend in many
// ways, under faults, records what happens, and judges the record: each rule
// is a pure function of it. What it finds is a verdict with counted evidence
// and, where a rule is broken, the part of the record that shows it.
//
// # Judge your own backend
//
// Describe it as a [Target] and give that to [Queue] or [Stream] in a test:
//
//	func TestToy(t *testing.T) { conformance.Queue(t, newToy, nil) }
//
// The target says where channels are, how long things take, what it does not
// promise and why, and how it can be hurt. Each hook that it has makes more
// rules applicable under more faults; what it lacks is reported as not
// applicable, with the reason. toy_test.go has a queue of some 300 lines that
// keeps the contract, toy_target_test.go its target, and memory_test.go one
// with every hook.
//
// newTarget is called for each run of a scenario, and may return one broker or
// a fresh one each time: names are never used twice, and what an earlier run
// left behind is told from what is new. A target that blocks on channels and
// timers only is Virtual: its runs are in [testing/synctest] bubbles, where
// waiting takes no time. [Options] name a seed, some rules, bounds.
//
// A program calls [Run] and gets the [Report]; it needs no test, for a virtual
// target neither. What panics in a goroutine of the target's own ends the
// process: nothing can catch that.
//
// # Faults of the network
//
// A broker behind TCP is given a [Network] in [Target].Network, which its URL
// leads through, or the Dial of its client:
//
//	network := conformance.NewNetwork()
//	address, err := network.Address("127.0.0.1:5672")
//	target.URL = func(channel string) string { return "amqp://" + address + "/?queue=" + channel }
//	target.Network = network
//
// It resets connections (F1), makes them black holes of which some never come
// back (F2), loses replies: what a client asks is forwarded and answered, the
// answer is swallowed, and then the connection is cut (F3); and it is slow (F4).
// With the hooks Restart (F5) and MoveLeader (F7) servers are killed, too.
//
// The scenario "storm" has publishers and consumers work while a fault comes and
// goes; under "mixed", random sets of all that the target can be given come by
// turns, and for a quarter of the time none. After each, publishing and delivery
// have to go on. Then all is healed, a fresh client drains the channel, and what
// was acknowledged must have come. The evidence counts the cuts, the connections
// and the messages in flight at them: where nothing was, the cell is
// inconclusive. storm_test.go is the whole path, with a broker of a few hundred
// lines, and with clients that are broken in the ways in which clients are.
//
//	go test ./conformance -run TestStorm -v
//
// # The wire
//
// A target with a [Native], functions that write and read with the broker's own
// client, is judged by what others see of its messages, and it of theirs.
//
// # Verdicts
//
// A cell is a rule under a fault, "none" or F1 to F16 of the catalogue; a row
// of the report shows the worst of a rule's cells.
//
//   - held: enough was seen, and nothing against it.
//   - violated: the history shows a break. A call that hangs or panics, or
//     returns what no call may, breaks every rule of its scenario.
//   - inconclusive: too little was seen, the history has holes, or this process
//     itself did not run for so long that times mean nothing. It fails a test
//     as violated does: what is not known is not green.
//   - not claimed: the target says that it does not promise it. Core rules
//     cannot be left unclaimed.
//   - not applicable: the target cannot be given that fault, or has no such
//     thing.
//   - emulator deviation: an emulator is known to break it, and did. When it
//     does no longer, that is inconclusive, so that the claim goes away.
//
// No rule accuses a backend for what the contract allows: one that is late,
// delivers twice where it may, is unordered, counts attempts that nobody saw,
// has gaps in its offsets, or moves partitions slowly. [Controls] are such
// backends, and the suite's own tests check that they are never accused.
//
// # Evidence
//
// A cell is held only where it counted as much as the rule needs, by name,
// such as 3500 messages that were acknowledged. To see a fault that strikes
// once in n with a probability of 99 % takes 4.6 n messages that are exposed
// to it; reports state it the other way round: after 4000 messages, a fault
// above 1 in 868 would have shown. [Options].Most cuts what is needed on
// brokers where thousands of redeliveries would take too long.
//
// # Two layers
//
// A rule judges either a backend, called as [messaging.Consume] calls it, or
// Consume over a backend. For those the suite runs messaging.Consume, or what
// [Options].Consume says: a broken one is caught as a broken backend is.
//
// # Read a failure
//
// A failing rule prints the sentence that it found broken, what broke it, the
// scenario with its seed, and an excerpt of the history: a line an event, in
// the order of the recorder. Lines with ">" are the ones that break the rule,
// the others are what surrounds them.
//
//	under F8, violated: What was delivered and not acknowledged when its consumer died is delivered again, soon after the lease is over.
//	message 1/17 was in hand at a crash and was not delivered again
//	  in crashes, seed 7:
//	              2ms  #812    sub 3     receive  invoke max 10
//	    >         2ms  #813    sub 3     deliver  ok     message 1/17 delivery 40 lease 40 attempt 1
//	    >         5ms  #840    sub 3     crash
//
// A line has the time since the run began, the event's number, whose it is,
// what it is, its phase, and its fields. A call has an invoke, and an ok (it
// happened), fail (it certainly did not) or info (unknown). Message 1/17 is the
// 17th of publisher 1. Under a virtual target many events share one time: only
// their order counts. The seed repeats the choices of the run, though not the
// order in which goroutines ran.
//
// # Reports
//
// [WriteHTML], [WriteMarkdown] and [WriteJSON] write any number of reports side
// by side; [Report.Save] adds one to a folder and renews its index.html. In a
// test, [Options].Reports gets the report, or, with no line of code,
//
//	MESSAGING_REPORT=$PWD/report go test -count=1 ./...
//
// saves those of all backends into one page. Histories are had by
// [Options].Histories, saved with [SaveHistory], and judged again, by the same
// rules or by better ones, with [LoadHistory] and [Check].
//
// # Mutants
//
// The suite is tested itself: [Mutants] are broken backends and broken
// Consumes, each with the rule that has to catch it. They are made from
// exported names alone, so a new one can be written anywhere. It changes an
// honest target in place, most often by a wrapper around its Backend:
//
//	conformance.Mutant{
//		Name: "forgets-1-in-500", Breaks: "P01", Flavour: conformance.ForQueue,
//		About:  "One message in 500 is acknowledged and not published.",
//		Target: func(t *conformance.Target) { t.Backend = &forgetful{t.Backend} },
//	}
//
// A wrapper around a subscriber has a method Unwrap that returns the inner
// one, for the hooks. Run it with [Options].Rules of the one rule, and it has
// to be [Violated]:
//
//	go test ./conformance -run TestMutants -v           # each is killed by its rule
//	go test ./conformance -run TestMutants -v -matrix   # and by which others
//	go test ./conformance -run TestHonest -seeds=20     # who is honest is not accused
//	go test ./conformance -run TestReport -report=DIR   # what a report looks like
package conformance
