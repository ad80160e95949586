package conformance

import (
	"time"
)

// History is what happened in one run of a scenario: everything that a rule
// may look at. It is data only, so that it can be saved and checked again.
type History struct {
	Target   string    `json:"target,omitzero"` // Target.Name
	Flavour  Flavour   `json:"flavour,omitzero"`
	Scenario string    `json:"scenario,omitzero"`
	Fault    string    `json:"fault,omitzero"` // "none", or the fault's id in guarantees: F1 to F16
	Seed     uint64    `json:"seed,omitzero"`
	Timing   Timing    `json:"timing,omitzero"`
	Started  time.Time `json:"started,omitzero"` // wall clock at offset 0 of the events
	Virtual  bool      `json:"virtual,omitzero"`

	Messages []Message `json:"-"` // by Event.Message - 1
	Sessions []Session `json:"-"` // by Event.Session - 1
	Events   []Event   `json:"-"` // in the order in which they were recorded

	// Duplicates says that the target does not claim Q05: one message may be
	// with several consumers of a queue, and come again although it is settled.
	Duplicates bool `json:"duplicates,omitzero"`

	// Overflow says that events are missing. It makes every rule inconclusive.
	Overflow bool `json:"overflow,omitzero"`

	// Stalled is the longest time for which the harness itself did not run.
	Stalled time.Duration `json:"stalled,omitzero"`

	// Failure is why the scenario did not come to its end. "" is that it did.
	// FailureCode is Hung, Panicked or Nonsense where the target is to blame,
	// which breaks every rule of the scenario.
	Failure     string `json:"failure,omitzero"`
	FailureCode Code   `json:"failureCode,omitzero"`

	// Facts are what the scenario found out beside its events, by name, such as
	// how many goroutines were left.
	Facts map[string]int64 `json:"facts,omitzero"`
}

// Message is one message that the suite published, or tried to.
type Message struct {
	Producer int    `json:"producer,omitzero"` // session of the publisher, 0 for a scenario's first ones
	Counter  int    `json:"counter,omitzero"`  // from 1, in the order of the producer's calls
	Channel  string `json:"channel,omitzero"`  // of the publisher
	ID       string `json:"id,omitzero"`       // as the caller set it; "" when it left it to Publish
	Key      string `json:"key,omitzero"`
	Subject  string `json:"subject,omitzero"`
	Size     int    `json:"size,omitzero"` // of body and headers
}

// Session is a publisher or a subscriber, from open to close or crash. A
// second open is a second session.
type Session struct {
	Role          Role          `json:"role,omitzero"`
	Channel       string        `json:"channel,omitzero"`
	Group         string        `json:"group,omitzero"`
	Subject       string        `json:"subject,omitzero"` // pattern
	Start         string        `json:"start,omitzero"`   // as in the URL
	End           string        `json:"end,omitzero"`     // as in the URL
	Only          string        `json:"only,omitzero"`    // partition= of the URL
	Skip          bool          `json:"skip,omitzero"`    // trimmed=skip in the URL
	Order         string        `json:"order,omitzero"`   // as messaging.Order prints it
	Window        int           `json:"window,omitzero"`  // Capabilities.Window
	Lease         time.Duration `json:"lease,omitzero"`   // Capabilities.Lease
	Hold          time.Duration `json:"hold,omitzero"`    // 0 where the target has none
	MaxDelay      time.Duration `json:"maxDelay,omitzero"`
	Attempts      bool          `json:"attempts,omitzero"`
	ExactAttempts bool          `json:"exactAttempts,omitzero"`

	Consume *Consumption `json:"consume,omitzero"` // what drives it is messaging.Consume, or a mutant of it; nil: it is not
}

// Consumption is the options of a Consume.
type Consumption struct {
	Concurrency int           `json:"concurrency,omitzero"`
	Order       string        `json:"order,omitzero"` // as messaging.Order prints it; the session's where the options say none
	Once        bool          `json:"once,omitzero"`  // AtMostOnce
	MaxAttempts int           `json:"maxAttempts,omitzero"`
	DeadLetter  bool          `json:"deadLetter,omitzero"`
	Grace       time.Duration `json:"grace,omitzero"`
	Backoff     time.Duration `json:"backoff,omitzero"` // the least that follows a failure
}

// Role says what a session is.
type Role string

const (
	RolePublisher Role = "publisher"
	RoleQueue     Role = "queue"
	RoleStream    Role = "stream"
)

// Event is one thing that happened. Calls have two: an invoke and, with the
// same Call, an ok, fail or info for each place.
type Event struct {
	At      time.Duration `json:"at,omitzero"` // since History.Started, monotonic
	Kind    Kind          `json:"kind,omitzero"`
	Phase   Phase         `json:"phase,omitzero"`
	Call    int           `json:"call,omitzero"`    // joins the events of one call; 0 for what is no call
	Session int           `json:"session,omitzero"` // whose; 0 for the suite's own
	Place   int           `json:"place,omitzero"`   // of an argument or result in its call
	Message int           `json:"message,omitzero"` // 1 + index in History.Messages; 0 for none, or one that nobody published

	// Of deliveries, and of what refers to one.
	Delivery    int       `json:"delivery,omitzero"` // a number for each delivery, from 1
	Lease       int       `json:"lease,omitzero"`    // a number for each *Lease, from 1; 0 for nil
	Partition   string    `json:"partition,omitzero"`
	Offset      string    `json:"offset,omitzero"`
	Attempt     int       `json:"attempt,omitzero"`
	Redelivered bool      `json:"redelivered,omitzero"`
	Published   time.Time `json:"published,omitzero"`
	ID          string    `json:"id,omitzero"`   // as it was delivered
	Diff        string    `json:"diff,omitzero"` // what differs from the message as it was published; "" is nothing. At the outcome of a Publish: what that changed in its argument

	Max   int           `json:"max,omitzero"`   // of Receive; on its ok, how many came
	Delay time.Duration `json:"delay,omitzero"` // of Nack
	Code  Code          `json:"code,omitzero"`  // of an error; at an invoke, of the one that the call has to end with
	Text  string        `json:"text,omitzero"`  // of an error, a fault, a note
}

// Kind is what happened.
type Kind string

const (
	Open    Kind = "open" // of a session
	Close   Kind = "close"
	Publish Kind = "publish"
	Receive Kind = "receive"
	Deliver Kind = "deliver" // one for each delivery of a Receive, after its ok
	Ack     Kind = "ack"
	Nack    Kind = "nack"
	Release Kind = "release"
	Commit  Kind = "commit"
	Start   Kind = "start" // of a handler
	End     Kind = "end"   // of a handler: ok, fail for an error, info when its context had ended
	Dead    Kind = "dead"  // a delivery was published to the dead letters: Message and Diff compare it with its source
	Ending  Kind = "ending"
	Lost    Kind = "lost"
	Crash   Kind = "crash"  // of a session
	Freeze  Kind = "freeze" // of a session
	Thaw    Kind = "thaw"
	Fault   Kind = "fault"   // Text names it; invoke when it begins, ok when it was healed, Max how often it hit
	Cut     Kind = "cut"     // just before a fault hits: Text names it, Max is how many connections it hits
	Drained Kind = "drained" // a Consume of the session returned; Code is its error
	Stop    Kind = "stop"    // the context of a Consume of the session ended
	Note    Kind = "note"
)

// Phase is where a call is: invoke, then ok (it happened), fail (it certainly
// did not) or info (unknown).
type Phase string

const (
	Invoke Phase = "invoke"
	OK     Phase = "ok"
	Fail   Phase = "fail"
	Info   Phase = "info"
)

// Code is what an error is, as errors.Is tells.
type Code string

const (
	NoError     Code = ""
	Closed      Code = "closed"
	NotFound    Code = "not found"
	TooLarge    Code = "too large"
	LostError   Code = "lost"
	Uncertain   Code = "uncertain"
	Trimmed     Code = "trimmed"
	Unsupported Code = "unsupported"
	EOF         Code = "eof"
	Grace       Code = "grace"
	Canceled    Code = "canceled"
	Deadline    Code = "deadline"
	Rejected    Code = "rejected" // a handler's error that was wrapped by messaging.Reject
	Panicked    Code = "panic"    // the call panicked
	Hung        Code = "hung"     // the call did not end
	Nonsense    Code = "nonsense" // it returned what no call may return, such as nothing and no error
	Other       Code = "other"
	Unmatched   Code = "unmatched" // no error: at the invoke of a Publish with a subject that no subscription matches
)
