package conformance

import (
	"strings"
	"time"
)

// handling is one run of a handler.
type handling struct {
	d          *Delivery
	session    *Session
	number     int // of the session
	start, end int // events; end is -1 if it did not
}

// handlings returns the handler runs of sessions that a Consume drove, in the
// order of their starts.
func (v *View) handlings() []handling {
	var hs []handling
	open := map[int]int{} // delivery to its handling
	for i := range v.Events {
		e := &v.Events[i]
		if e.Kind != Start && e.Kind != End || e.Delivery < 1 || e.Delivery > len(v.Deliveries) {
			continue
		}
		d := &v.Deliveries[e.Delivery-1]
		if d.Event < 0 || v.Sessions[d.Session-1].Consume == nil {
			continue
		}
		if e.Kind == Start {
			open[e.Delivery] = len(hs)
			hs = append(hs, handling{d: d, session: &v.Sessions[d.Session-1], number: d.Session, start: i, end: -1})
		} else if k, ok := open[e.Delivery]; ok {
			hs[k].end = i
			delete(open, e.Delivery)
		}
	}
	return hs
}

// delivered returns the event of h's delivery.
func (v *View) delivered(h *handling) *Event { return &v.Events[h.d.Event] }

// succeeded says whether h ended well.
func (v *View) succeeded(h *handling) bool { return h.end >= 0 && v.Events[h.end].Phase == OK }

// failed says whether h ended with an error or a panic of its own.
func (v *View) failed(h *handling) bool { return h.end >= 0 && v.Events[h.end].Phase == Fail }

// groupOf returns whose copy of a message h handled.
func (v *View) groupOf(h *handling) [2]string { return v.Group(h.d) }

// slack is by how much later than another an event has to be recorded to be
// later for sure, where the two are recorded by different goroutines. In a
// bubble, time stands still while anybody runs.
func (v *View) slack() time.Duration {
	if v.Virtual {
		return 0
	}
	return 200*time.Millisecond + v.Stalled
}

// after says whether event i happened after event j for sure.
func (v *View) after(i, j int) bool {
	return i > j && v.Events[i].At > v.Events[j].At+v.slack()
}

// checkTold looks for handlers that failed, of which OnError heard nothing.
func checkTold(v *View, f *Finding, of func(*Session) bool) {
	notes := make([]int, len(v.Deliveries))
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Note && e.Delivery > 0 && e.Delivery <= len(notes) && strings.HasPrefix(e.Text, told) {
			notes[e.Delivery-1]++
		}
	}
	hs := v.handlings()
	for i := range hs {
		h := &hs[i]
		if !of(h.session) || !v.failed(h) || h.d.Message < 1 {
			continue
		}
		f.count("failures told", 1)
		// It may hear more of a delivery: of a settle that failed.
		if n := v.Events[h.start].Delivery - 1; notes[n] > 0 {
			notes[n]--
		} else {
			f.violate([]int{h.start, h.end}, "a handler of message %s failed, and OnError did not hear of it", v.name(h.d.Message-1))
		}
	}
}

// burial is one publish to the dead letters.
type burial struct {
	session, message int
	invoke, outcome  int // events; outcome is -1 if there is none
	ok               bool
}

// burials returns the publishes to the dead letters, in the order of their
// invokes.
func (v *View) burials() []burial {
	var bs []burial
	type place struct{ call, place int }
	open := map[place]int{}
	for i := range v.Events {
		e := &v.Events[i]
		if e.Kind != Dead || e.Session < 1 || e.Session > len(v.Sessions) {
			continue
		}
		at := place{e.Call, e.Place}
		if e.Phase == Invoke {
			open[at] = len(bs)
			bs = append(bs, burial{session: e.Session, message: e.Message, invoke: i, outcome: -1})
		} else if k, ok := open[at]; ok {
			bs[k].outcome, bs[k].ok = i, e.Phase == OK
			delete(open, at)
		}
	}
	return bs
}

// wasBuried says whether the dead letter of d's message was taken in d's group.
func (v *View) wasBuried(d *Delivery) bool {
	return v.Buried[copyOf{v.Group(d), d.Message}]
}
