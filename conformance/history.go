package conformance

import (
	"time"
)

// History is what happened in one run of a scenario: everything that a rule
// may look at. It is data only, so that it can be saved and checked again.
type History struct {
	Target   string // Target.Name
	Scenario string
	Fault    string // "none", or the fault's id in guarantees: F1 to F16
	Seed     uint64
	Timing   Timing
	Started  time.Time // wall clock at offset 0 of the events
	Virtual  bool

	Messages []Message // by Event.Message - 1
	Sessions []Session // by Event.Session - 1
	Events   []Event   // in the order in which they were recorded

	// Overflow says that events are missing. It makes every rule inconclusive.
	Overflow bool

	// Stalled is the longest time for which the harness itself did not run.
	Stalled time.Duration

	// Facts are what the scenario found out beside its events, by name, such as
	// how many goroutines were left.
	Facts map[string]int64
}

// Message is one message that the suite published, or tried to.
type Message struct {
	Producer int    // session of the publisher, 0 for a scenario's first ones
	Counter  int    // from 1, in the order of the producer's calls
	Channel  string // of the publisher
	ID       string // as the caller set it; "" when it left it to Publish
	Key      string
	Subject  string
	Size     int // of body and headers
}

// Session is a publisher or a subscriber, from open to close or crash. A
// second open is a second session.
type Session struct {
	Role                    Role
	Channel                 string
	Group                   string
	Subject                 string        // pattern
	Start                   string        // as in the URL
	End                     string        // as in the URL
	Only                    string        // partition= of the URL
	Order                   string        // as messaging.Order prints it
	Window                  int           // Capabilities.Window
	Lease                   time.Duration // Capabilities.Lease
	Hold                    time.Duration // 0 where the target has none
	MaxDelay                time.Duration
	Attempts, ExactAttempts bool

	Consume *Consumption // what drives it is messaging.Consume, or a mutant of it; nil: it is not
}

// Consumption is the options of a Consume.
type Consumption struct {
	Concurrency int
	Order       string // as messaging.Order prints it; the session's where the options say none
	Once        bool   // AtMostOnce
	MaxAttempts int
	DeadLetter  bool
	Grace       time.Duration
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
	At      time.Duration // since History.Started, monotonic
	Kind    Kind
	Phase   Phase
	Call    int // joins the events of one call; 0 for what is no call
	Session int // whose; 0 for the suite's own
	Place   int // of an argument or result in its call
	Message int // 1 + index in History.Messages; 0 for none, or one that nobody published

	// Of deliveries, and of what refers to one.
	Delivery    int // a number for each delivery, from 1
	Lease       int // a number for each *Lease, from 1; 0 for nil
	Partition   string
	Offset      string
	Attempt     int
	Redelivered bool
	Published   time.Time
	ID          string // as it was delivered
	Diff        string // what differs from the message as it was published; "" is nothing

	Max   int           // of Receive; on its ok, how many came
	Delay time.Duration // of Nack
	Code  Code          // of an error
	Text  string        // of an error, a fault, a note
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
	Other       Code = "other"
)
