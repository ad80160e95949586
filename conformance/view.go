package conformance

import (
	"sync"

	"github.com/fa5182d2/messaging"
)

// View is a history with its events joined: which delivery is of which
// message, how each was settled. It is made once, in linear time, and shared
// by the rules, which only read it.
type View struct {
	*History

	// Publications are by message, by Event.Message - 1: each attempt to
	// publish it by a call of Publish.
	Publications [][]Publication

	// Deliveries are by Event.Delivery - 1.
	Deliveries []Delivery

	// OfMessage are the deliveries of each message, by Event.Message - 1, as
	// places in Deliveries, in the order in which they came.
	OfMessage [][]int

	// OfSession are the deliveries to each session, by Event.Session - 1, in
	// their order.
	OfSession [][]int

	// Outcomes are the events that end each call, by Event.Call - 1, in the
	// order of their places.
	Outcomes [][]int

	// Committed is the highest offset that each group tried to commit, by its
	// partition.
	Committed map[cursorKey]messaging.Offset

	// Buried are the messages whose dead letter was taken, by their group.
	Buried map[copyOf]bool

	// Invokes are the events that begin each call, by Event.Call - 1.
	Invokes []int

	streamOnce sync.Once // for stream
	stream     *streamView
	queuesOnce sync.Once
	queuesView *queueView
}

// Publication is one attempt to publish a message.
type Publication struct {
	Invoke, Outcome int // events; Outcome is -1 if the call never ended
	Session         int
	Phase           Phase // of the outcome; Info if it never ended
	Code            Code
}

// Delivery is one delivery and what became of it.
type Delivery struct {
	Event   int // Deliver
	Receive int // the event that invoked its Receive
	Message int // as in Event
	Session int
	Lease   int

	Settles      []Settle
	Lost, Ending int // events of its lease; -1 is none
	Starts, Ends []int
}

// Settle is one attempt to settle a delivery.
type Settle struct {
	Kind            Kind
	Invoke, Outcome int // events; Outcome is -1 if the call never ended
	Phase           Phase
	Code            Code
}

// Group says whose copy of a message a delivery is: the channel and group of
// its session.
func (v *View) Group(d *Delivery) [2]string {
	s := &v.Sessions[d.Session-1]
	return [2]string{s.Channel, s.Group}
}

// Settled returns the first settle of d of one of the kinds whose outcome is
// OK, or nil.
func (d *Delivery) Settled(kinds ...Kind) *Settle {
	for i := range d.Settles {
		for _, k := range kinds {
			if d.Settles[i].Kind == k && d.Settles[i].Phase == OK {
				return &d.Settles[i]
			}
		}
	}
	return nil
}

// Tried returns the first settle of d of one of the kinds, whatever came of
// it, or nil.
func (d *Delivery) Tried(kinds ...Kind) *Settle {
	for i := range d.Settles {
		for _, k := range kinds {
			if d.Settles[i].Kind == k {
				return &d.Settles[i]
			}
		}
	}
	return nil
}

// newView joins the events of h. It takes any history, however broken: what
// refers to nothing is left out.
func newView(h *History) *View {
	v := &View{History: h, Buried: map[copyOf]bool{}, Committed: map[cursorKey]messaging.Offset{}}
	calls, deliveries := 0, 0
	for i := range h.Events {
		calls, deliveries = max(calls, h.Events[i].Call), max(deliveries, h.Events[i].Delivery)
	}
	// A number above the count of events is not one that a recorder gave.
	calls, deliveries = min(calls, len(h.Events)), min(deliveries, len(h.Events))
	v.Publications = make([][]Publication, len(h.Messages))
	v.OfMessage = make([][]int, len(h.Messages))
	v.OfSession = make([][]int, len(h.Sessions))
	v.Deliveries = make([]Delivery, deliveries)
	v.Outcomes = make([][]int, calls)
	v.Invokes = make([]int, calls)
	for i := range v.Deliveries {
		v.Deliveries[i] = Delivery{Event: -1, Receive: -1, Lost: -1, Ending: -1}
	}
	for i := range v.Invokes {
		v.Invokes[i] = -1
	}
	j := joins{View: v, ofLease: map[int][]int{}, open: map[argument]int{}}
	for i := range h.Events {
		j.join(i, &h.Events[i])
	}
	return v
}

// joins is what is needed while a view is made.
type joins struct {
	*View
	ofLease map[int][]int    // deliveries
	open    map[argument]int // calls that have not ended: places in Publications or Settles
}

// argument is one argument of a call.
type argument struct {
	kind        Kind
	call, place int
	of          int // message or delivery
}

func (v *joins) join(i int, e *Event) {
	if e.Call > 0 && e.Call <= len(v.Invokes) {
		if e.Phase == Invoke {
			if v.Invokes[e.Call-1] < 0 {
				v.Invokes[e.Call-1] = i
			}
		} else {
			v.Outcomes[e.Call-1] = append(v.Outcomes[e.Call-1], i)
		}
	}
	var d *Delivery
	if e.Delivery > 0 && e.Delivery <= len(v.Deliveries) {
		d = &v.Deliveries[e.Delivery-1]
	}
	switch e.Kind {
	case Publish:
		v.joinPublish(i, e)
	case Deliver:
		if d == nil || d.Event >= 0 || e.Session < 1 || e.Session > len(v.Sessions) {
			return
		}
		d.Event, d.Message, d.Session, d.Lease = i, e.Message, e.Session, e.Lease
		if e.Message < 1 || e.Message > len(v.Messages) {
			d.Message = 0
		}
		if e.Call > 0 && e.Call <= len(v.Invokes) {
			d.Receive = v.Invokes[e.Call-1]
		}
		if d.Message > 0 {
			v.OfMessage[d.Message-1] = append(v.OfMessage[d.Message-1], e.Delivery-1)
		}
		v.OfSession[e.Session-1] = append(v.OfSession[e.Session-1], e.Delivery-1)
		if e.Lease > 0 {
			v.ofLease[e.Lease] = append(v.ofLease[e.Lease], e.Delivery-1)
		}
	case Ack, Nack, Release, Commit:
		if d == nil || d.Event < 0 {
			return
		}
		v.joinSettle(d, i, e)
		if e.Kind == Commit {
			key := cursorKey{v.Group(d), e.Partition}
			if high, ok := v.Committed[key]; !ok || high.Compare(messaging.Offset(e.Offset)) < 0 {
				v.Committed[key] = messaging.Offset(e.Offset)
			}
		}
	case Dead:
		if e.Phase == OK && e.Session >= 1 && e.Session <= len(v.Sessions) {
			s := &v.Sessions[e.Session-1]
			v.Buried[copyOf{[2]string{s.Channel, s.Group}, e.Message}] = true
		}
	case Start:
		if d != nil {
			d.Starts = append(d.Starts, i)
		}
	case End:
		if d != nil {
			d.Ends = append(d.Ends, i)
		}
	case Ending, Lost:
		v.joinLease(i, e)
	}
}

// joinLease tells a lease's deliveries of its end. Those that come after the
// event are not told, and each is told once.
func (v *joins) joinLease(i int, e *Event) {
	of := v.ofLease[e.Lease]
	for k := len(of) - 1; k >= 0; k-- {
		at := &v.Deliveries[of[k]].Ending
		if e.Kind == Lost {
			at = &v.Deliveries[of[k]].Lost
		}
		if *at >= 0 {
			return // and so are all before it
		}
		*at = i
	}
}

func (v *joins) joinPublish(i int, e *Event) {
	if e.Message < 1 || e.Message > len(v.Messages) {
		return
	}
	ps := &v.Publications[e.Message-1]
	key := argument{Publish, e.Call, e.Place, e.Message}
	if e.Phase == Invoke {
		v.open[key] = len(*ps)
		*ps = append(*ps, Publication{Invoke: i, Outcome: -1, Session: e.Session, Phase: Info, Code: Hung})
		return
	}
	if k, ok := v.open[key]; ok {
		p := &(*ps)[k]
		p.Outcome, p.Phase, p.Code = i, e.Phase, e.Code
		delete(v.open, key)
	}
}

func (v *joins) joinSettle(d *Delivery, i int, e *Event) {
	key := argument{e.Kind, e.Call, e.Place, e.Delivery}
	if e.Phase == Invoke {
		v.open[key] = len(d.Settles)
		d.Settles = append(d.Settles, Settle{Kind: e.Kind, Invoke: i, Outcome: -1, Phase: Info, Code: Hung})
		return
	}
	if k, ok := v.open[key]; ok {
		s := &d.Settles[k]
		s.Outcome, s.Phase, s.Code = i, e.Phase, e.Code
		delete(v.open, key)
	}
}

// cursorKey names a group's cursor in a partition.
type cursorKey struct {
	group     [2]string // as Group
	partition string
}

// coveredBy says whether d's group tried to commit its offset or a later one.
func (v *View) coveredBy(d *Delivery) bool {
	e := &v.Events[d.Event]
	high, ok := v.Committed[cursorKey{v.Group(d), e.Partition}]
	return ok && e.Partition != "" && messaging.Offset(e.Offset).Compare(high) <= 0
}
