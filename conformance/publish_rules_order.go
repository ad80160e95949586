package conformance

import (
	"cmp"
	"slices"

	"github.com/fa5182d2/messaging"
)

// line is what a publisher sent with one key, as it is stored in one place.
type line struct {
	session       int
	key           string
	where, within string // a channel and its partition, or a group
}

// last is what of a line was sent last, of what is stored so far.
type last struct {
	invoke int         // of the latest
	ofCall map[int]int // of the latest of each call
}

// checkProducerOrder walks along what is stored, and looks whether anything
// was sent before something that is stored before it.
func checkProducerOrder(v *View, f *Finding) {
	v.unlimited(f, "around a refusal")
	lines := map[line]*last{}
	refused := map[int]bool{} // calls
	for i := range v.Events {
		if e := &v.Events[i]; e.Kind == Publish && e.Phase == Fail {
			refused[e.Call] = true
		}
	}
	for _, at := range v.stored() {
		n := v.Events[at].Message - 1
		if len(v.Publications[n]) != 1 || v.Messages[n].Key == "" {
			continue
		}
		p := v.Publications[n][0]
		if p.Phase != OK {
			continue // it may stand anywhere
		}
		s := &v.Sessions[v.Events[at].Session-1]
		where := line{p.Session, v.Messages[n].Key, s.Channel, v.Events[at].Partition}
		if s.Role == RoleQueue {
			where.within = s.Group
		}
		call := v.Events[p.Invoke].Call
		l := lines[where]
		if l == nil {
			lines[where] = &last{invoke: p.Invoke, ofCall: map[int]int{call: p.Invoke}}
			continue
		}
		f.count("pairs", 1)
		if refused[call] {
			f.count("around a refusal", 1)
		}
		// Within one call the places are in order; another call comes later
		// where it began after this one had ended.
		later := -1
		if l.ofCall[call] > p.Invoke {
			later = l.ofCall[call]
		} else if p.Outcome < l.invoke {
			later = l.invoke
		}
		if later >= 0 {
			f.violate([]int{p.Invoke, later, at}, "message %s is stored after message %s, which the same publisher sent later with the same key %q",
				v.name(n), v.name(v.Events[later].Message-1), where.key)
		}
		l.invoke, l.ofCall[call] = max(l.invoke, p.Invoke), max(l.ofCall[call], p.Invoke)
	}
}

// stored returns the first delivery of each message in the order in which they
// are stored: by offset in a stream, as they come in a queue whose group has
// one consumer and keeps the order of keys.
func (v *View) stored() []int {
	consumers := map[[2]string]int{}
	for i := range v.Sessions {
		consumers[[2]string{v.Sessions[i].Channel, v.Sessions[i].Group}]++
		if v.Sessions[i].Role == RolePublisher {
			consumers[[2]string{v.Sessions[i].Channel, v.Sessions[i].Group}]--
		}
	}
	type position struct{ channel, partition, offset string }
	positions := map[position]bool{}
	came := map[copyOf]bool{}
	var streams, queues []int
	for k := range v.Deliveries {
		d := &v.Deliveries[k]
		if d.Event < 0 || d.Message == 0 {
			continue
		}
		s, e := &v.Sessions[d.Session-1], &v.Events[d.Event]
		switch group := v.Group(d); {
		case s.Role == RoleStream:
			if at := (position{s.Channel, e.Partition, e.Offset}); !positions[at] {
				positions[at] = true
				streams = append(streams, d.Event)
			}
		case s.Order != messaging.Unordered.String() && consumers[group] == 1 && !came[copyOf{group, d.Message}]:
			came[copyOf{group, d.Message}] = true
			queues = append(queues, d.Event)
		}
	}
	// Readers bring each partition in order: this is cheap, and no more than a
	// sort of what one of them missed.
	slices.SortStableFunc(streams, func(a, b int) int {
		x, y := &v.Events[a], &v.Events[b]
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), messaging.Offset(x.Offset).Compare(messaging.Offset(y.Offset)))
	})
	// Only the first copy of a message counts: a retry may have stored a second.
	seen := map[int]bool{}
	streams = slices.DeleteFunc(streams, func(i int) bool {
		again := seen[v.Events[i].Message]
		seen[v.Events[i].Message] = true
		return again
	})
	return append(streams, queues...)
}
