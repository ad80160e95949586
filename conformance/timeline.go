package conformance

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// timeline is an excerpt as a drawing: one lane a session, time to the right.
// Columns are events in their order, and not distances of time, which are
// often nothing: where time passed between two, a gap says how much.
type timeline struct {
	Width, Height int
	Lanes         []drawnLane
	Bars          []drawnBar
	Marks         []drawnMark
	Ticks         []drawnTick
	Gaps          []drawnTick
}

type drawnLane struct {
	Name      string
	Y, Height int
	Odd       bool
}

// AxisY is where the axis of time is, below the lanes.
func (t *timeline) AxisY() int { return t.Height - axisHeight }

// AxisTextY is the base line of its texts.
func (t *timeline) AxisTextY() int { return t.Height - axisHeight/3 }

// drawnPlace is where something is drawn, with its label and, for a key moment,
// its number.
type drawnPlace struct {
	X, Y         int
	Label, Title string
	Number       int // 0 is none
}

// LabelX is where the label begins.
func (p drawnPlace) LabelX() int {
	if p.Number > 0 {
		return p.X + 11
	}
	return p.X - 3
}

// LabelY is the label's base line.
func (p drawnPlace) LabelY() int { return p.Y + 11 }

// KeyY is the middle of the number's circle.
func (p drawnPlace) KeyY() int { return p.Y + 7 }

// KeyTextY is the number's base line.
func (p drawnPlace) KeyTextY() int { return p.Y + 10 }

// drawnBar is a call or a handler, from its beginning to its end.
type drawnBar struct {
	drawnPlace
	Width        int
	Class, Glyph string // a Phase, or open, fault or hold
}

// BarY is the bar's upper edge.
func (b drawnBar) BarY() int { return b.Y + 21 - b.Thick()/2 }

// Thick is the bar's height.
func (b drawnBar) Thick() int {
	if b.Class == "hold" {
		return 3
	}
	return 9
}

// GlyphY is the base line of its glyph.
func (b drawnBar) GlyphY() int { return b.Y + 26 }

// drawnMark is a moment without a length.
type drawnMark struct {
	drawnPlace
	Class, Glyph string
}

// GlyphY is the glyph's base line.
func (m drawnMark) GlyphY() int { return m.Y + 26 }

type drawnTick struct {
	X    int
	Text string
}

const (
	columnWidth = 26
	gapWidth    = 58
	rowHeight   = 34
	lanePad     = 10
	axisHeight  = 26
	charWidth   = 6.3
)

// drawing lays an excerpt out.
type drawing struct {
	timeline
	s      *Shown
	x      []int // by moment
	placed map[int][]int
	key    int
}

// drawnSpan is what a row has to hold: from and to with its label.
type drawnSpan struct {
	lane, row int
	from, to  int // moments; to is -1 for one that has no end in the excerpt
	label     string
}

// draw returns the timeline of a violation.
func draw(s *Shown) *timeline {
	if len(s.Moments) == 0 {
		return nil
	}
	d := &drawing{s: s, placed: map[int][]int{}}
	d.columns()
	spans := d.spans()
	d.lanes(spans)
	for i := range spans {
		d.paint(&spans[i])
	}
	return &d.timeline
}

// columns gives each moment its place.
func (d *drawing) columns() {
	x, last, labelled := 18, d.s.Moments[0].At, -100
	for i := range d.s.Moments {
		at := d.s.Moments[i].At
		if i > 0 {
			x += columnWidth
			if passed := at - last; passed >= time.Millisecond {
				d.Gaps = append(d.Gaps, drawnTick{x + gapWidth/2 - columnWidth/2, "+" + brief(passed)})
				x += gapWidth
			}
		}
		d.x = append(d.x, x)
		if at != last || i == 0 {
			if text := brief(at); x-labelled > int(float64(len(text)+1)*charWidth) {
				d.Ticks = append(d.Ticks, drawnTick{x, text})
				labelled = x
			}
		}
		last = at
	}
	d.Width = x + 60
}

// brief is a duration as a person would say it.
func brief(t time.Duration) string {
	switch {
	case t >= 10*time.Second:
		t = t.Round(100 * time.Millisecond)
	case t >= time.Second:
		t = t.Round(10 * time.Millisecond)
	case t >= time.Millisecond:
		t = t.Round(10 * time.Microsecond)
	}
	return t.String()
}

// spans joins the moments of calls, and of deliveries and their end.
func (d *drawing) spans() []drawnSpan {
	ends := map[argument]int{}
	for i := range d.s.Moments {
		if m := &d.s.Moments[i]; m.Call > 0 && m.Phase != Invoke && m.Kind != Deliver {
			ends[argument{m.Kind, m.Call, m.Place, 0}] = i
		}
	}
	starts := map[int]int{} // of handlers, by delivery
	var spans []drawnSpan
	used := map[int]bool{}
	for i := range d.s.Moments {
		m := &d.s.Moments[i]
		s := drawnSpan{lane: m.Session, from: i, to: i, label: d.label(m)}
		switch {
		case used[i]:
			continue
		case m.Kind == Start:
			starts[m.Delivery] = len(spans)
			s.to = -1
		case m.Kind == End:
			if k, ok := starts[m.Delivery]; ok {
				spans[k].to = i
				continue
			}
		case m.Kind == Deliver:
			s.to = d.held(i)
		case m.Phase == Invoke:
			s.to = -1
			if end, ok := ends[argument{m.Kind, m.Call, m.Place, 0}]; ok && end > i {
				s.to = end
				used[end] = true
			}
		}
		spans = append(spans, s)
	}
	return spans
}

// held returns the moment at which the delivery of moment i was no longer
// held, or i itself where the excerpt does not tell.
func (d *drawing) held(i int) int {
	of := &d.s.Moments[i]
	for k := i + 1; k < len(d.s.Moments); k++ {
		m := &d.s.Moments[k]
		switch {
		case m.Session != of.Session:
		case m.Kind == Crash, m.Kind == Lost && m.Lease == of.Lease && m.Lease > 0:
			return k
		case m.Delivery == of.Delivery && m.Phase == OK && (m.Kind == Ack || m.Kind == Nack || m.Kind == Release || m.Kind == Commit):
			return k
		}
	}
	return i
}

func (d *drawing) label(m *Moment) string {
	parts := []string{string(m.Kind)}
	if m.Kind == Fault || m.Kind == Note {
		parts = []string{clip(printable(m.Text), 80)}
	}
	if m.Subject != "" {
		parts = append(parts, m.Subject)
	}
	if m.Offset != "" {
		parts = append(parts, "@"+clip(printable(m.Offset), 20))
	}
	if m.Kind == Deliver && m.Attempt > 1 {
		parts = append(parts, "×"+strconv.Itoa(m.Attempt))
	}
	return printable(strings.Join(parts, " "))
}

// lanes puts the spans into rows in which no label covers another, and the
// lanes below each other.
func (d *drawing) lanes(spans []drawnSpan) {
	free := map[int][]int{} // by lane: where each row is free
	for i := range spans {
		s := &spans[i]
		end := d.Width
		if s.to >= 0 {
			end = d.x[s.to]
		}
		end = max(end, d.x[s.from]+int(float64(utf8.RuneCountInString(s.label))*charWidth)+30) + 6
		rows := free[s.lane]
		s.row = len(rows)
		for r, until := range rows {
			if until <= d.x[s.from]-8 {
				s.row = r
				break
			}
		}
		if s.row == len(rows) {
			rows = append(rows, 0)
		}
		rows[s.row] = end
		free[s.lane] = rows
		d.Width = max(d.Width, min(end, d.x[s.from]+400)+10)
	}
	y := 0
	for i, lane := range d.s.Lanes {
		n := max(1, len(free[lane.Session]))
		d.Lanes = append(d.Lanes, drawnLane{Name: printable(lane.Name), Y: y, Height: n*rowHeight + lanePad, Odd: i%2 == 1})
		for r := range n {
			d.placed[lane.Session] = append(d.placed[lane.Session], y+lanePad/2+r*rowHeight)
		}
		y += n*rowHeight + lanePad
	}
	d.Height = y + axisHeight
}

// paint draws a span as a bar, or as a mark where it has no length.
func (d *drawing) paint(s *drawnSpan) {
	rows := d.placed[s.lane]
	if s.row >= len(rows) {
		return // a lane that the excerpt does not name
	}
	m, y := &d.s.Moments[s.from], rows[s.row]
	number := 0
	if m.Key || s.to > s.from && d.s.Moments[s.to].Key && m.Kind != Deliver {
		d.key++
		number = d.key
	}
	title := d.line(s.from)
	if s.to == s.from {
		class, glyph := look(m)
		d.Marks = append(d.Marks, drawnMark{drawnPlace{d.x[s.from], y, s.label, title, number}, class, glyph})
		return
	}
	b := drawnBar{drawnPlace: drawnPlace{d.x[s.from], y, s.label, title, number}, Class: "open"}
	end := d.Width - 8
	if s.to >= 0 {
		last := &d.s.Moments[s.to]
		end, b.Class = d.x[s.to], classOf(last.Phase)
		b.Title += "\n" + d.line(s.to)
		switch class, glyph := look(m); m.Kind {
		case Deliver:
			b.Class, b.Glyph = "hold", glyph
		case Fault:
			b.Class = class
		}
		if last.Code != NoError && m.Kind != Deliver {
			b.Label += " (" + printable(string(last.Code)) + ")"
		}
	}
	b.Width = max(end-b.X, 4)
	d.Bars = append(d.Bars, b)
}

func (d *drawing) line(i int) string {
	if i < len(d.s.Excerpt) {
		return strings.Join(strings.Fields(strings.TrimLeft(printable(d.s.Excerpt[i]), "> ")), " ")
	}
	return ""
}

// look is how a moment without a length is drawn.
func look(m *Moment) (class, glyph string) {
	switch m.Kind {
	case Deliver:
		if m.Redelivered {
			return "deliver", "↻"
		}
		return "deliver", "▼"
	case Lost:
		return "lost", "✕"
	case Ending:
		return "ending", "◇"
	case Crash:
		return "crash", "✸"
	case Freeze:
		return "crash", "❄"
	case Thaw:
		return "note", "☀"
	case Fault:
		return "fault", "⚡"
	case Note:
		return "note", "•"
	}
	return classOf(m.Phase), "●"
}

// classOf is how an outcome is drawn.
func classOf(p Phase) string {
	switch p {
	case OK, "":
		return "ok"
	case Fail:
		return "fail"
	case Info:
		return "info"
	}
	return "note"
}
