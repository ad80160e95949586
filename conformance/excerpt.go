package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// shown returns a violation with its excerpt.
func shown(h *History, v Violation) Shown {
	s := Shown{Scenario: h.Scenario, Seed: h.Seed, Text: v.Text}
	places := slices.Clone(v.Events)
	slices.Sort(places)
	for _, i := range slices.Compact(places) {
		if i >= 0 && i < len(h.Events) {
			s.Excerpt = append(s.Excerpt, h.Line(i))
			s.Events = append(s.Events, h.Events[i])
		}
	}
	return s
}

// Line returns an event of the history as a line of text.
func (h *History) Line(i int) string {
	e := &h.Events[i]
	var b strings.Builder
	fmt.Fprintf(&b, "%12v  #%-6d %-9s %-8s %-6s", e.At, i, h.who(e.Session), e.Kind, e.Phase)
	if e.Message > 0 && e.Message <= len(h.Messages) {
		m := &h.Messages[e.Message-1]
		fmt.Fprintf(&b, " message %s", value(m.Producer, m.Counter))
		if m.Key != "" {
			fmt.Fprintf(&b, " key %s", m.Key)
		}
	}
	field := func(name string, v any) {
		if s := fmt.Sprint(v); s != "" && s != "0" && s != "0s" && s != "false" {
			fmt.Fprintf(&b, " %s %s", name, s)
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
