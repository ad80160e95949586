package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Shown is a violation with the part of its history that shows it.
type Shown struct {
	Scenario string   `json:"scenario"`
	Seed     uint64   `json:"seed,string"`
	Text     string   `json:"text"`
	Excerpt  []string `json:"excerpt,omitempty"` // lines, see History.Line; those after ">" break the rule
	Lanes    []Lane   `json:"lanes,omitempty"`   // whose the moments are
	Moments  []Moment `json:"moments,omitempty"` // a place in them for each line of Excerpt
}

// Lane is a session that an excerpt is about.
type Lane struct {
	Session int    `json:"session"` // 0 is the suite
	Name    string `json:"name"`
}

// Moment is an event in an excerpt.
type Moment struct {
	N       int    `json:"n"`              // its place in the history
	Key     bool   `json:"key,omitzero"`   // it breaks the rule; the others are what surrounds it
	Subject string `json:"about,omitzero"` // the message
	Event
}

// longestExcerpt is how many events an excerpt shows.
const longestExcerpt = 60

// shown returns a violation with its excerpt: the events that show it and,
// where deep is set, those around them.
func shown(h *History, v Violation, deep bool) Shown {
	s := Shown{Scenario: h.Scenario, Seed: h.Seed, Text: printable(v.Text)}
	x := newExcerpt(h, v.Events)
	if deep {
		x.widen()
	}
	lanes := map[int]bool{}
	for _, i := range x.chosen() {
		mark := "  "
		if x.rank[i] == rankKey {
			mark = "> "
		}
		e := h.Events[i]
		s.Excerpt = append(s.Excerpt, mark+h.Line(i))
		s.Moments = append(s.Moments, Moment{N: i, Key: x.rank[i] == rankKey, Subject: x.subject(&e), Event: e})
		if !lanes[e.Session] {
			lanes[e.Session] = true
			s.Lanes = append(s.Lanes, Lane{e.Session, h.lane(e.Session)})
		}
	}
	slices.SortStableFunc(s.Lanes, func(a, b Lane) int { return a.Session - b.Session })
	return s
}

// The ranks of events, the most telling first: what does not fit is left out
// from the end.
const (
	rankKey     = iota // named by the rule
	rankPartner        // the other end of its call
	rankStory          // of the same message or delivery
	rankMarker         // a fault, crash or lost lease near them
)

// excerpt chooses events.
type excerpt struct {
	h           *History
	rank        map[int]int // by event
	first, last int
	messages    map[int]bool
	deliveries  map[int]int // to their messages
	leases      map[int]bool
	sessions    map[int]bool
	calls       map[argument]bool
}

func newExcerpt(h *History, events []int) *excerpt {
	x := &excerpt{
		h: h, rank: map[int]int{}, first: len(h.Events), messages: map[int]bool{}, deliveries: map[int]int{},
		leases: map[int]bool{}, sessions: map[int]bool{}, calls: map[argument]bool{},
	}
	for _, i := range events {
		if i < 0 || i >= len(h.Events) {
			continue
		}
		e := &h.Events[i]
		x.rank[i] = rankKey
		x.first, x.last = min(x.first, i), max(x.last, i)
		x.sessions[e.Session] = true
		if e.Message > 0 {
			x.messages[e.Message] = true
		}
		if e.Delivery > 0 {
			x.deliveries[e.Delivery] = e.Message
		}
		if e.Lease > 0 {
			x.leases[e.Lease] = true
		}
		if e.Call > 0 {
			x.calls[argument{kind: e.Kind, call: e.Call, place: e.Place}] = true
		}
	}
	return x
}

// widen adds what surrounds the events: it reads the history twice.
func (x *excerpt) widen() {
	for i := range x.h.Events {
		e := &x.h.Events[i]
		if e.Kind == Deliver && (x.messages[e.Message] || x.has(e.Delivery)) {
			x.deliveries[e.Delivery] = e.Message
			if len(x.messages) == 0 {
				x.messages[e.Message] = e.Message > 0
			}
			if e.Lease > 0 && len(x.leases) < longestExcerpt {
				x.leases[e.Lease] = true
			}
			x.sessions[e.Session] = true
		}
	}
	for i := range x.h.Events {
		e := &x.h.Events[i]
		switch {
		case x.calls[argument{kind: e.Kind, call: e.Call, place: e.Place}]:
			x.add(i, rankPartner)
		case e.Message > 0 && x.messages[e.Message], e.Delivery > 0 && x.has(e.Delivery):
			x.add(i, rankStory)
		case x.marks(i, e):
			x.add(i, rankMarker)
		}
	}
}

func (x *excerpt) has(delivery int) bool {
	_, ok := x.deliveries[delivery]
	return ok
}

// marks says whether an event is one of those that change how others are to
// be read.
func (x *excerpt) marks(i int, e *Event) bool {
	switch e.Kind {
	case Fault, Note:
		return i >= x.first && i <= x.last || e.Kind == Fault
	case Crash, Freeze, Thaw, Stop, Drained, Close, Open:
		return x.sessions[e.Session] && e.Session > 0
	case Ending, Lost:
		return x.leases[e.Lease]
	}
	return false
}

func (x *excerpt) add(i, rank int) {
	if old, ok := x.rank[i]; !ok || rank < old {
		x.rank[i] = rank
	}
}

// chosen returns the events in their order, as many as an excerpt shows.
func (x *excerpt) chosen() []int {
	all := make([]int, 0, len(x.rank))
	for i := range x.rank {
		all = append(all, i)
	}
	// Of those of one rank, the nearest to the last that the rule names.
	slices.SortFunc(all, func(a, b int) int {
		return cmp.Or(x.rank[a]-x.rank[b], distance(a, x.last)-distance(b, x.last), a-b)
	})
	all = all[:min(len(all), longestExcerpt)]
	slices.Sort(all)
	return all
}

func distance(a, b int) int { return max(a-b, b-a) }

// subject names the message that an event is about.
func (x *excerpt) subject(e *Event) string {
	n := cmp.Or(e.Message, x.deliveries[e.Delivery])
	if n < 1 || n > len(x.h.Messages) {
		return ""
	}
	return value(x.h.Messages[n-1].Producer, x.h.Messages[n-1].Counter)
}

// Line returns an event of the history as a line of text, with nothing in it
// that a terminal would obey.
func (h *History) Line(i int) string {
	e := &h.Events[i]
	var b strings.Builder
	fmt.Fprintf(&b, "%12v  #%-6d %-9s %-8s %-6s", e.At, i, h.who(e.Session), e.Kind, e.Phase)
	if e.Message > 0 && e.Message <= len(h.Messages) {
		m := &h.Messages[e.Message-1]
		fmt.Fprintf(&b, " message %s", value(m.Producer, m.Counter))
		if m.Key != "" {
			fmt.Fprintf(&b, " key %s", printable(m.Key))
		}
	}
	field := func(name string, v any) {
		if s := fmt.Sprint(v); s != "" && s != "0" && s != "0s" && s != "false" {
			fmt.Fprintf(&b, " %s %s", name, printable(s))
		}
	}
	field("delivery", e.Delivery)
	field("lease", e.Lease)
	field("partition", e.Partition)
	field("offset", e.Offset)
	field("attempt", e.Attempt)
	if e.Redelivered {
		b.WriteString(" redelivered")
	}
	field("max", e.Max)
	field("delay", e.Delay)
	field("differs:", e.Diff)
	field("error:", cmp.Or(e.Text, string(e.Code)))
	return b.String()
}

func (h *History) who(session int) string {
	if session < 1 || session > len(h.Sessions) {
		return "suite"
	}
	s := &h.Sessions[session-1]
	return fmt.Sprintf("%s %d", map[Role]string{RolePublisher: "pub", RoleQueue: "sub", RoleStream: "sub"}[s.Role], session)
}

// lane names a session, with what it is of.
func (h *History) lane(session int) string {
	name := h.who(session)
	if session < 1 || session > len(h.Sessions) {
		return name
	}
	if s := &h.Sessions[session-1]; s.Group != "" {
		name += ", group " + printable(clip(s.Group, 40))
	}
	return name
}
