package conformance

import (
	"time"

	"github.com/fa5182d2/messaging"
)

// S12: where groups begin.

// checkStartPosition judges where groups begin.
func checkStartPosition(v *View, f *Finding) {
	if v.Facts[factDrained] == 0 {
		f.unsure("%s was not drained", v.Scenario)
		return
	}
	removed := len(v.streams().trimmedMessages()) > 0
	for _, g := range v.groups() {
		if g.role != RoleStream {
			continue
		}
		begins := parseBound(g.start)
		if begins.offset != "" {
			v.checkStartOffset(f, g, begins.offset)
			continue
		}
		for n := range v.Messages {
			if v.Messages[n].Channel == g.channel && len(v.Publications[n]) > 0 {
				v.checkStartOf(f, g, begins, n, removed)
			}
		}
	}
}

// checkStartOf judges one message: whether the group had to get it, or must
// not.
func (v *View) checkStartOf(f *Finding, g group, begins bound, n int, removed bool) {
	acked, first := v.acknowledged(n), v.firstTo(g, n)
	opening := v.invokeOf(g.opened)
	switch {
	case begins.latest:
		switch {
		case acked >= 0 && v.Publications[n][0].Invoke > g.opened:
			f.count("after latest", 1)
			if first < 0 && !removed {
				f.violate([]int{g.opened, acked}, "message %s was published after group %q had been opened with start=latest, and never delivered to it", v.name(n), g.group)
			}
		case acked >= 0 && acked < opening && len(v.Publications[n]) == 1:
			f.count("before latest", 1)
			if first >= 0 {
				f.violate([]int{acked, opening, first}, "message %s was published before group %q was opened with start=latest, and delivered to it", v.name(n), g.group)
			}
		}
	case !begins.at.IsZero():
		at, ok := v.publishedAt(n)
		if ok && !at.Before(begins.at) && acked >= 0 {
			f.count("from a time", 1)
			if first < 0 && !removed {
				f.violate([]int{g.opened, acked}, "message %s was published at %v and never delivered to group %q, which starts at %s", v.name(n), at, g.group, g.start)
			}
		}
	case acked >= 0:
		f.count("from earliest", 1)
		if first < 0 && !removed {
			f.violate([]int{g.opened, acked}, "message %s is retained and was never delivered to group %q, which starts at the earliest", v.name(n), g.group)
		}
	}
}

// publishedAt returns when the broker took message n, as any delivery says.
func (v *View) publishedAt(n int) (time.Time, bool) {
	for _, k := range v.OfMessage[n] {
		if at := v.Events[v.Deliveries[k].Event].Published; !at.IsZero() {
			return at, true
		}
	}
	return time.Time{}, false
}

// checkStartOffset judges a group that starts at an offset of one partition,
// and at the earliest in the others.
func (v *View) checkStartOffset(f *Finding, g group, from messaging.Offset) {
	only := ""
	for i := range v.Sessions {
		if s := &v.Sessions[i]; s.Channel == g.channel && s.Group == g.group && s.Only != "" {
			only = s.Only
		}
	}
	sv := v.streams()
	for _, log := range sv.logs {
		if log.channel != g.channel {
			continue
		}
		want := 0
		for only == log.partition && want < len(log.records) && log.records[want].offset.Compare(from) < 0 {
			want++
		}
		least := len(log.records)
		for _, c := range sv.cursors {
			if c.log == log && c.key.group == [2]string{g.channel, g.group} {
				for _, t := range c.tenures {
					least = min(least, sv.at[t.deliveries[0]])
				}
			}
		}
		f.count("from an offset", 1)
		if least != want && !log.trimmedTo(min(want, least), max(want, least), len(v.Events)) {
			f.violate([]int{g.opened}, "group %q with start=%s began partition %s at index %d of what is known, not at %d", g.group, g.start, log.partition, least, want)
		}
	}
}
