package conformance

import (
	"context"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// streamMutants break the rules of streamRules.
func streamMutants() []Mutant {
	return []Mutant{
		onStreams("replay-swaps-values", "S01", "a reader alone is delivered the values of two neighbours exchanged, one pair in 50", mutantSwapsValues(alone)),
		onStreams("redelivery-swaps-values", "S01", "what comes again to a group has the values of two neighbours exchanged, one pair in 50", mutantSwapsValues(redelivered)),
		onStreams("stores-twice", "S02", "one message in 500 is stored at two positions", mutantStoresTwice),
		onStreams("stores-twice-on-lost-reply", "S02", "a retry after a lost reply stores the message again", mutantStoresRetry),
		onStreams("rereads-last", "S03", "the last delivery comes once more, one Receive in 50", mutantRereads),
		onStreams("swaps-neighbours", "S03", "two neighbours come in the wrong order, one pair in 200", mutantSwapsNeighbours),
		onStreams("skips-1-in-500", "S04", "a group's member skips one message in 500", mutantSkips),
		onStreams("trimmed-in-silence", "S04", "what retention removed is skipped although nobody chose that", mutantTrimmedInSilence),
		onStreams("skips-after-set-back", "S04", "after a Release the second message is skipped, one in 10", mutantSkipsAfterRelease),
		onStreams("acknowledges-and-drops", "S05", "one message in 500 is acknowledged and not stored", mutantDropsPublished),
		onStreams("skips-beside-others", "S05", "a member skips one message in 300, only while its group has another member", mutantSkipsBeside),
		onStreams("key-strays", "S07", "one message in 200 is in another partition than its key", mutantKeyStrays),
		onStreams("child-first", "S07", "what a partition was split into is delivered before that is committed", mutantChildFirst),
		onStreams("no-fencing", "S08", "a Commit by a former owner is nil", mutantNoFencing),
		onStreams("read-ahead-survives", "S08", "what was read ahead of a partition is delivered although that has a new owner", mutantReadAhead),
		onStreams("one-epoch", "S08", "all owners of a partition have one epoch", mutantOneEpoch),
		onStreams("nobody-is-told", "S08", "a lease is never lost", mutantNeverLost),
		onStreams("cursor-follows-last-commit", "S09", "a Commit of a lower offset moves the checkpoint back", mutantLastCommitWins),
		onStreams("commits-one-further", "S09", "one Commit in 20 takes the next message in hand with it", mutantCommitsFurther),
		onStreams("commits-on-delivery", "S10", "what was delivered counts as committed", mutantCommitsOnDelivery),
		onStreams("resumes-one-late", "S10", "a partition that moves resumes one message late, one in 4", mutantResumesLate),
		onStreams("end-is-inclusive", "S11", "end= with an offset delivers that too", mutantRewrites("end", offsetPlus(1), alone)),
		onStreams("time-is-rounded-up", "S11", "start= with a time begins a second late", mutantRewrites("start", timePlus(time.Second), alone)),
		onStreams("replay-moves-groups", "S11", "a Commit by a reader alone moves an idle group", mutantReplayMoves),
		onStreams("latest-at-first-receive", "S12", "start=latest is fixed by the first Receive, not by open", mutantLateLatest),
		onStreams("added-partition-at-latest", "S12", "a group that began at the latest misses the first messages of a partition that is added", mutantMissesAdded),
		onStreams("group-time-is-rounded-up", "S12", "a group whose start= is a time begins a second late", mutantRewrites("start", timePlus(time.Second), grouped)),
		onStreams("orphans-a-partition", "S13", "a partition is not taken over from its first owner", mutantOrphans),
		onStreams("owner-a-minute-late", "S13", "a partition that moves has no owner for a minute", mutantLateOwner),
		onStreams("commits-one-less", "S16", "one Commit in 10 ends one message below", mutantCommitsLess),
		onStreams("offsets-as-text", "S16", "a Commit below the last one as text is left out", mutantTextOrder),
		onStreams("commit-waits-for-the-next", "S16", "a Commit is applied with the next one, or by Close, and a crash loses it", mutantCommitWaits),
		onStreams("lost-without-warning", "S17", "a partition that moves in order is Lost at once", mutantNoWarning),
		onStreams("bound-halved", "S17", "a partition is taken at half of handover=", mutantRewrites("handover", durationTimes(1, 2), grouped)),
		onStreams("bound-thrice", "S17", "a partition is taken at three times handover=", mutantRewrites("handover", durationTimes(3, 1), grouped)),
		onStreams("release-does-nothing", "S18", "Release is nil and sets nothing back", mutantReleaseNothing),
		onStreams("release-first-argument", "S18", "Release sets back to its first argument, not to the earliest", mutantReleaseFirst),
		onStreams("again-unmarked", "S18", "what comes again is not marked Redelivered", mutantUnmarked),
		onStreams("commits-what-was-set-back", "S18", "a Commit of what was set back is nil", mutantCommitsVoid),
		onStreams("commit-all-or-nothing", "S18", "a Commit of which one partition is lost is ErrLost for all", mutantAllOrNothing),
	}
}

// onStreams is a mutant that is made by wrapping a target's backend.
func onStreams(name, breaks, about string, with func(*Target) *wrapping) Mutant {
	return Mutant{Name: name, Breaks: breaks, About: about, Flavour: ForStream, Target: func(t *Target) { with(t).around(t) }}
}

// nth says yes one time in so many.
type nth struct{ n atomic.Int64 }

func (c *nth) in(every int) bool { return c.n.Add(1)%int64(every) == 0 }

// alone, grouped and redelivered are whom a mutant breaks.
func alone(u *url.URL, _ *messaging.Delivery) bool { return !grouped(u, nil) }

func grouped(u *url.URL, _ *messaging.Delivery) bool { return u.Query().Get("group") != "" }

func redelivered(u *url.URL, d *messaging.Delivery) bool { return grouped(u, d) && d.Redelivered }

// changed is a stream of whose deliveries change makes others. It receives
// until something is left of them.
func changed(s messaging.StreamSubscriber, change func([]*messaging.Delivery) []*messaging.Delivery) *streamWrap {
	return &streamWrap{StreamSubscriber: s, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		for {
			ds, err := s.Receive(ctx, max)
			if err != nil {
				return nil, err
			}
			if ds = change(ds); len(ds) > 0 {
				return ds, nil
			}
		}
	}}
}

// mutantRewrites changes a parameter of the URLs of streams.
func mutantRewrites(name string, change func(string) string, whom func(*url.URL, *messaging.Delivery) bool) func(*Target) *wrapping {
	return func(*Target) *wrapping {
		return &wrapping{url: func(u *url.URL) *url.URL {
			if q := u.Query(); q.Has(name) && whom(u, nil) {
				q.Set(name, change(q.Get(name)))
				u.RawQuery = q.Encode()
			}
			return u
		}}
	}
}

func offsetPlus(n int64) func(string) string {
	return func(text string) string {
		if offset, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.FormatInt(offset+n, 10)
		}
		return text
	}
}

func timePlus(d time.Duration) func(string) string {
	return func(text string) string {
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			return at.Add(d).Format(time.RFC3339)
		}
		return text
	}
}

func durationTimes(n, by time.Duration) func(string) string {
	return func(text string) string {
		if d, err := time.ParseDuration(text); err == nil {
			return (d * n / by).String()
		}
		return text
	}
}
