package conformance

import (
	"context"
	"net/url"
	"slices"

	"github.com/fa5182d2/messaging"
)

// publishMutants break the rules of publishRules.
func publishMutants() []Mutant {
	return []Mutant{
		onBoth("loses-1-in-500", "P01", "one message in 500 is acknowledged and thrown away", publishes(loses(500))),
		onBoth("loses-501st", "P01", "message 501 of a call is acknowledged and thrown away", publishes(losesAt(500))),
		onBoth("loses-beside-others", "P01", "one Receive in 20 loses a message, only while another consumer of its group holds something", mutantLosesBeside),
		onBoth("creates-what-is-missing", "P02", "create=false is ignored", mutantCreates),
		onBoth("deleted-is-nil", "P02", "publishing to a channel that was deleted is nil, one time in three", publishes(deletedIsNil)),
		onBoth("phantom-1-in-500", "P03", "one delivery in 500 is of a message that nobody published", delivers(phantom)),
		onBoth("names-are-cut", "P03", "channels whose names begin in the same way are one", mutantNamesCut),
		onBoth("uncertain-is-failed", "P04", "an outcome that is unknown is told as a failure", publishes(uncertainIsFailed)),
		onBoth("cancelled-but-sent", "P04", "one call in ten whose context has ended is sent all the same", publishes(cancelledButSent)),
		onBoth("nil-at-once", "P05", "Publish is nil before the broker has answered, when it does not within 10 ms", mutantNilAtOnce),
		onBoth("time-out-is-nil", "P05", "a small batch that its context's end overtakes is nil", publishes(timeOutIsNil)),
		onBoth("header-lost-again", "P06", "a redelivery lacks the last header of those that have two", delivers(headerLostAgain)),
		onBoth("odd-header-mended", "P06", "what is not UTF-8 in a header is replaced", delivers(mendHeaders)),
		onBoth("body-shared", "P06", "all deliveries of a message share its body, so that each consumer sees what others write to it", mutantSharesBodies),
		onBoth("pages-reused", "P06", "the bodies of a call of more than 32 KiB are written over before a second group gets them", mutantReusesPages),
		onBoth("body-cut-at-64-kib", "P06", "a body is cut after 64 KiB", rewritten(cutBody)),
		onBoth("key-in-lower-case", "P06", "a key is stored in lower case", rewritten(lowerKey)),
		onBoth("key-cut-at-128", "P06", "a key is cut after 128 bytes", rewritten(cutKey)),
		onBoth("key-or-subject", "P06", "a message with a key loses its subject", rewritten(keyOrSubject)),
		onBoth("keeps-buffers", "P06", "one message in 50 is sent with the next call, from the caller's buffer", mutantKeepsBuffers),
		onBoth("failure-hides-successes", "P07", "when one message fails, all are told to have failed", publishes(oneFailsAll)),
		onBoth("success-hides-failures", "P07", "a message that is refused in a batch is told to have been taken", publishes(hidesFailures)),
		onBoth("outcomes-shifted", "P07", "the outcomes of a call are told one place late", publishes(shiftsOutcomes)),
		onBoth("second-refusal-shifted", "P07", "of two messages of a call that are too large, the second is told one place late", publishes(secondRefusalShifts)),
		onBoth("stored-twice-1-in-500", "P08a", "one message in 500 is stored twice", publishes(storesTwice)),
		onBoth("retry-stores-again", "P08a", "what is retried after a lost reply is stored again", publishesWith(params("retry", "none"), retries)),
		onBoth("forgets-ids", "P08b", "no id is remembered", mutantForgetsIDs),
		onBoth("remembers-by-publisher", "P08b", "each publisher remembers only the ids of its own messages", mutantRemembersOwn),
		onBoth("remembers-for-ever", "P08b", "an id is remembered for an hour", mutantRemembersLong),
		onBoth("neighbours-swapped", "P09", "two neighbours with one key change places, one pair in 200", publishes(swapsNeighbours)),
		onBoth("refused-goes-last", "P09", "what follows a message that is refused is sent before what precedes it", publishes(refusedReorders)),
		onBoth("long-batches-reversed", "P09", "the parts of 100 of a long batch are sent the last first", publishes(partsReversed)),
		onBoth("swapped-at-500", "P09", "message 500 of a call and the next one, with one key, change places", publishes(swapsAt(500))),
		onBoth("close-does-not-wait", "P10", "Close is nil at once, and what is under way ends later", mutantCloseDoesNotWait),
		onBoth("close-hides-unknown", "P10", "Close is nil although outcomes are unknown", mutantCloseIsNil),
		onBoth("close-drops-buffer", "P10", "one message in 20 waits for the next call, and is dropped by Close", mutantCloseDrops),
		onBoth("sends-after-close", "P10", "what is published after Close is sent, and is ErrClosed", mutantSendsClosed),
		onBoth("id-new-again", "P11", "a redelivery has an id of its own", delivers(idNewAgain)),
		onBoth("id-shared-1-in-300", "P11", "one message in 300 has the id of the one before", publishes(sharesIDs)),
		onBoth("published-when-delivered", "P11", "Published is when the message was delivered", delivers(publishedNow)),
		onBoth("published-zero-again", "P11", "a redelivery is Published at no time", delivers(publishedZeroAgain)),
		onBoth("writes-to-arguments", "P11", "Publish sets the id in the caller's message", publishes(writesIDs)),
		onBoth("too-large-is-unknown", "P12", "what is too large is told as ErrUncertain", publishes(tooLargeIsUnknown)),
		onBoth("refusal-hits-the-next", "P12", "the call after one that is refused fails, too", mutantHitsNext),
		onBoth("slow-1-in-300", "P12", "one call in 300 takes six seconds", publishes(slow)),
	}
}

// onBoth is a mutant that is made by wrapping a target's backend.
func onBoth(name, breaks, about string, with func(*Target) *wrapping) Mutant {
	return Mutant{Name: name, Breaks: breaks, About: about, Flavour: ForBoth, Target: func(t *Target) { with(t).around(t) }}
}

// sending is one call of a mutant's Publish: count is of the target, and next
// is the honest Publish.
type sending struct {
	ctx   context.Context
	count *nth
	next  func(context.Context, ...messaging.Message) error
}

// publishes makes mutants whose publishers do something else.
func publishes(publish func(*sending, []messaging.Message) error) func(*Target) *wrapping {
	return func(*Target) *wrapping {
		var count nth
		return &wrapping{publisher: func(p messaging.Publisher, _ *url.URL) messaging.Publisher {
			return publishing{p, func(ctx context.Context, ms []messaging.Message) error {
				return publish(&sending{ctx, &count, p.Publish}, ms)
			}}
		}}
	}
}

// publishesWith makes mutants whose publishers are opened with other
// parameters, too.
func publishesWith(with url.Values, publish func(*sending, []messaging.Message) error) func(*Target) *wrapping {
	return func(t *Target) *wrapping {
		w := publishes(publish)(t)
		inner := w.publisher
		w.url = func(u *url.URL) *url.URL {
			if u.Query().Has("group") {
				return u
			}
			q := u.Query()
			for name, values := range with {
				q[name] = values
			}
			u.RawQuery = q.Encode()
			return u
		}
		w.publisher = func(p messaging.Publisher, u *url.URL) messaging.Publisher {
			if u.Query().Get("retry") == "none" {
				return p
			}
			return inner(p, u)
		}
		return w
	}
}

// delivers makes mutants whose subscribers change what they deliver.
func delivers(change func(count *nth, d *messaging.Delivery)) func(*Target) *wrapping {
	return func(*Target) *wrapping {
		var count nth
		return receives(func(ds []*messaging.Delivery) {
			for _, d := range ds {
				change(&count, d)
			}
		})
	}
}

// receives is a wrapping whose subscribers show each what they receive.
func receives(look func([]*messaging.Delivery)) *wrapping {
	around := func(receive receiveFunc) receiveFunc { return looking(receive, look) }
	return &wrapping{
		queue: func(q messaging.QueueSubscriber, _ *url.URL) messaging.QueueSubscriber {
			return &queueWrap{QueueSubscriber: q, receive: around(q.Receive)}
		},
		stream: func(s messaging.StreamSubscriber, _ *url.URL) messaging.StreamSubscriber {
			return &streamWrap{StreamSubscriber: s, receive: around(s.Receive)}
		},
	}
}

// looking is receive, and shows what it returned.
func looking(receive receiveFunc, look func([]*messaging.Delivery)) receiveFunc {
	return func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		ds, err := receive(ctx, max)
		look(ds)
		return ds, err
	}
}

// spread tells the outcome err of the messages that keep chose to all of ms:
// the others have that of other.
func spread(ms []messaging.Message, kept []int, err error, other func(i int) error) error {
	all, failed := make([]error, len(ms)), false
	for i := range ms {
		if k := slices.Index(kept, i); k >= 0 {
			all[i] = messaging.ErrorAt(err, k)
		} else {
			all[i] = other(i)
		}
		failed = failed || all[i] != nil
	}
	if !failed {
		return nil
	}
	return &messaging.BatchError{Errs: all}
}
