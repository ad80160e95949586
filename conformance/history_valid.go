package conformance

import (
	"fmt"
	"slices"
)

// The words that a history may use.

func kinds() []Kind {
	return []Kind{
		Open, Close, Publish, Receive, Deliver, Ack, Nack, Release, Commit, Start, End, Dead, Ending, Lost, Crash, Freeze, Thaw,
		Fault, Cut, Drained, Stop, Note,
	}
}

func phases() []Phase { return []Phase{"", Invoke, OK, Fail, Info} }

func codes() []Code {
	return []Code{
		NoError, Closed, NotFound, TooLarge, LostError, Uncertain, Trimmed, Unsupported, EOF, Grace, Canceled, Deadline,
		Rejected, Panicked, Hung, Nonsense, Other, Unmatched,
	}
}

func roles() []Role { return []Role{RolePublisher, RoleQueue, RoleStream} }

// validate says what makes no sense in h: a history that was read may lie.
// What it accepts, rules can index.
func (h *History) validate() error {
	switch {
	case h.Flavour != ForQueue && h.Flavour != ForStream:
		return fmt.Errorf("the history is of neither a queue nor a stream")
	case h.Scenario == "" || h.Fault == "":
		return fmt.Errorf("the history names no scenario or no fault")
	case h.Stalled < 0:
		return fmt.Errorf("the history has a negative time")
	case !slices.Contains(codes(), h.FailureCode):
		return fmt.Errorf("the history's failure is %q, which is nothing that this version knows", h.FailureCode)
	}
	for i := range h.Messages {
		if m := &h.Messages[i]; m.Producer < 0 || m.Producer > len(h.Sessions) || m.Counter < 0 || m.Size < 0 {
			return fmt.Errorf("message %d is of a producer or size that there is not", i+1)
		}
	}
	for i := range h.Sessions {
		if s := &h.Sessions[i]; !slices.Contains(roles(), s.Role) {
			return fmt.Errorf("session %d is %q, and no publisher, queue or stream", i+1, s.Role)
		}
	}
	return h.validateEvents()
}

func (h *History) validateEvents() error {
	delivered, at := 0, int64(0)
	for i := range h.Events {
		e := &h.Events[i]
		var wrong string
		switch {
		case !slices.Contains(kinds(), e.Kind):
			wrong = fmt.Sprintf("is of kind %q, which this version does not know", e.Kind)
		case !slices.Contains(phases(), e.Phase) || !slices.Contains(codes(), e.Code):
			wrong = fmt.Sprintf("has phase %q and code %q, which this version does not know", e.Phase, e.Code)
		case int64(e.At) < at:
			wrong = "lies before the event that it follows"
		case e.Session < 0 || e.Session > len(h.Sessions):
			wrong = fmt.Sprintf("is of session %d of %d", e.Session, len(h.Sessions))
		case e.Message < 0 || e.Message > len(h.Messages):
			wrong = fmt.Sprintf("is of message %d of %d", e.Message, len(h.Messages))
		case e.Kind == Deliver && (e.Delivery != delivered+1 || e.Session == 0):
			wrong = fmt.Sprintf("is delivery %d to session %d, after %d others", e.Delivery, e.Session, delivered)
		case e.Delivery < 0 || e.Kind != Deliver && e.Delivery > delivered && !h.Overflow:
			wrong = fmt.Sprintf("is of delivery %d, of %d so far", e.Delivery, delivered)
		case e.Call < 0 || e.Place < 0 || e.Lease < 0:
			wrong = "has a negative number"
		}
		if wrong != "" {
			return fmt.Errorf("event %d %s", i, wrong)
		}
		if at = int64(e.At); e.Kind == Deliver {
			delivered++
		}
	}
	return nil
}
