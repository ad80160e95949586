package kafka

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
)

// position is a place in a stream as start= and end= name it.
type position struct {
	kind   positionKind
	at     time.Time
	offset int64
}

type positionKind uint8

const (
	unbounded positionKind = iota // no end=
	atFirst                       // start=earliest
	atEnd                         // start=latest, end=now
	atTime
	atOffset
)

// parsePositions parses start= and end=.
func (o *options) parsePositions() error {
	var badStart, badEnd error
	o.from, badStart = parsePosition("start", o.start, "earliest", atFirst, "latest")
	o.to, badEnd = parsePosition("end", o.end, "", unbounded, "now")
	return errors.Join(badStart, badEnd)
}

// checkPositions reports what makes no sense for a subscriber.
func (o *options) checkPositions() error {
	switch {
	case o.group != "" && o.end != "":
		return errors.New("group= with end=: a group has no end; leave out group= to read alone")
	case o.group != "" && o.partition != "" && o.from.kind != atOffset:
		return errors.New("group= with partition=: a group shares out all partitions; leave out group= to read one alone, or give with start= the offset at which a new group begins in it")
	case o.partition == "" && (o.from.kind == atOffset || o.to.kind == atOffset):
		return errors.New("an offset in start= or end= is one of a partition: say which with partition=")
	case o.from.kind == atOffset && o.to.kind == atOffset && o.to.offset < o.from.offset,
		o.from.kind == atTime && o.to.kind == atTime && o.to.at.Before(o.from.at):
		return fmt.Errorf("end=%s is before start=%s", o.end, o.start)
	}
	return nil
}

// parsePosition parses the parameter of that name: a time, an offset, or one
// of two words, of which the first also stands for "" and is of that kind.
func parsePosition(name, text, first string, kind positionKind, end string) (position, error) {
	switch text {
	case "", first:
		return position{kind: kind}, nil
	case end:
		return position{kind: atEnd}, nil
	}
	if n, err := parseOffset(messaging.Offset(text)); err == nil {
		return position{kind: atOffset, offset: n}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return position{kind: atTime, at: at}, nil
	}
	hint := ""
	if strings.Contains(text, " ") {
		hint = " (a + is written %2B in a url)"
	}
	words := strings.TrimPrefix(first+", "+end, ", ")
	return position{}, fmt.Errorf("bad url parameter %s=%q: want %s, an RFC 3339 time such as 2006-01-02T15:04:05Z, or an offset%s", name, text, words, hint)
}

// parseOffset parses an offset as deliveries have them.
func parseOffset(o messaging.Offset) (int64, error) {
	n, err := strconv.ParseInt(string(o), 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != string(o) {
		return 0, fmt.Errorf("bad offset %q: want a whole number from 0", o)
	}
	return n, nil
}

// upMillis is a time in Kafka's milliseconds, rounded up: what has that time or
// a later one has at least as many.
func upMillis(at time.Time) int64 {
	ms := at.UnixMilli()
	if at.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}
