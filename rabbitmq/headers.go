package rabbitmq

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// Headers of our own on the wire.
const (
	keyHeader     = "messaging-key"     // Key
	subjectHeader = "messaging-subject" // Subject, where the routing key is a queue's name
	orderHeader   = "messaging-headers" // how the headers were, where a table cannot say it
	delayHeader   = "messaging-delay"   // of what went through a delay queue, see delay.go
)

// tableBytes is more than what a table's entry, or a frame, has around it.
const tableBytes = 16

// plumbing says whether a header's name means something to RabbitMQ or to us,
// so that a user's header of that name cannot be an entry of the table: it
// would change what is done with the message, or be changed.
func plumbing(name string) bool {
	switch name {
	case keyHeader, subjectHeader, orderHeader, delayHeader,
		"CC", "BCC", // more routing keys; BCC is taken out
		"x-delivery-count", "x-acquired-count": // set by quorum queues
		return true
	}
	// RabbitMQ rewrites its own notes of what was dead-lettered.
	return name == "x-death" || strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
}

// table returns the headers of m as AMQP has them. A table has no order and
// each key once; a key's values are an array if there are several, and where
// order matters, or an entry is not possible, orderHeader says how it was.
func (o *options) table(m *messaging.Message, withSubject bool) (amqp.Table, error) {
	if m.Key == "" && len(m.Headers) == 0 && (!withSubject || m.Subject == "") {
		return nil, nil
	}
	size := tableBytes + len(m.ID) + len(m.Key) + len(m.Subject)
	t := make(amqp.Table, len(m.Headers)+2)
	plain := true // the table says it all
	for i, h := range m.Headers {
		size += 2*len(h.Key) + len(h.Value) + 2*tableBytes
		switch {
		case plumbing(h.Key) || len(h.Key) > mostName:
			if !o.envelope {
				return nil, fmt.Errorf("header %.40q cannot be one of AMQP: without envelope=none it can be sent", h.Key)
			}
			plain = false
		default:
			plain = plain && (i == 0 || m.Headers[i-1].Key <= h.Key)
			add(t, h.Key, h.Value)
		}
	}
	if !plain && o.envelope {
		t[orderHeader] = order(m.Headers)
	}
	if m.Key != "" {
		t[keyHeader] = m.Key
	}
	if withSubject && m.Subject != "" {
		t[subjectHeader] = m.Subject
	}
	if most := int(o.dialer.frame.Load()); most > 0 && size > most {
		return nil, fmt.Errorf("about %d bytes of headers, key and id: they share one frame of AMQP, of %d at most: %w", size, most, messaging.ErrTooLarge)
	}
	return t, nil
}

// add adds a value to those of a key.
func add(t amqp.Table, key, value string) {
	switch before := t[key].(type) {
	case nil:
		t[key] = value
	case []any:
		t[key] = append(before, value)
	default:
		t[key] = []any{before, value}
	}
}

// order returns orderHeader: for each header its key, which stands for the next
// value of that entry, or, where there is no entry, an array of key and value.
func order(hs messaging.Headers) []any {
	all := make([]any, len(hs))
	for i, h := range hs {
		if plumbing(h.Key) || len(h.Key) > mostName {
			all[i] = []any{h.Key, h.Value}
		} else {
			all[i] = h.Key
		}
	}
	return all
}

// read takes apart the headers of a message that came: what is ours out of it,
// the rest as headers. It does not change the table.
func read(t amqp.Table, m *messaging.Message) {
	if len(t) == 0 {
		return
	}
	if key, ok := t[keyHeader]; ok {
		m.Key = text(key)
	}
	if subject, ok := t[subjectHeader]; ok {
		m.Subject = text(subject)
	}
	notes := noted(t)
	var taken map[string]int // values of a key that orderHeader has placed
	if all, ok := t[orderHeader].([]any); ok {
		m.Headers = make(messaging.Headers, 0, len(all))
		taken = make(map[string]int, len(all))
		for _, one := range all {
			place(t, m, one, taken)
		}
	}
	if len(taken) == 0 && len(t) == 1 && notes == nil {
		// The usual: one header, or the key.
		for k, v := range t {
			if !ours(k) {
				m.Headers = values(m.Headers, k, v, 0)
			}
		}
		return
	}
	keys := slices.AppendSeq(make([]string, 0, len(t)), maps.Keys(t))
	slices.Sort(keys)
	for _, k := range keys {
		if ours(k) || notes != nil && noteOfDelay(k) {
			continue
		}
		m.Headers = values(m.Headers, k, t[k], taken[k])
	}
	for _, k := range slices.Sorted(maps.Keys(notes)) {
		m.Headers = values(m.Headers, k, notes[k], 0)
	}
}

// place appends one header of orderHeader.
func place(t amqp.Table, m *messaging.Message, one any, taken map[string]int) {
	switch one := one.(type) {
	case string:
		if all := values(nil, one, t[one], taken[one]); t[one] != nil && len(all) > 0 {
			m.Headers = append(m.Headers, all[0])
			taken[one]++
		}
	case []any:
		if len(one) == 2 {
			m.Headers = append(m.Headers, messaging.Header{Key: text(one[0]), Value: text(one[1])})
		}
	}
}

// ours says whether a header is not one of the message.
func ours(name string) bool {
	switch name {
	case keyHeader, subjectHeader, orderHeader, delayHeader, "x-delivery-count", "x-acquired-count":
		return true
	}
	return false
}

// values appends a header for each value of an entry, but for the first skip.
func values(hs messaging.Headers, key string, value any, skip int) messaging.Headers {
	all, ok := value.([]any)
	if !ok || !flat(all) {
		if skip == 0 {
			hs = append(hs, messaging.Header{Key: key, Value: text(value)})
		}
		return hs
	}
	for _, v := range all[min(skip, len(all)):] {
		hs = append(hs, messaging.Header{Key: key, Value: text(v)})
	}
	return hs
}

// flat says whether an array is several values, not something that has a
// structure.
func flat(all []any) bool {
	for _, v := range all {
		switch v.(type) {
		case amqp.Table, []any:
			return false
		}
	}
	return len(all) > 0
}

// text returns a value of a foreign client's table as text: numbers in decimal,
// times in RFC 3339, void as "", tables and arrays as JSON.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case amqp.Decimal:
		return decimal(v)
	case amqp.Table, []any:
		encoded, err := json.Marshal(structure(v))
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(encoded)
	}
	return fmt.Sprint(value) // integers of every width
}

// decimal writes a number with Scale digits behind the point.
func decimal(d amqp.Decimal) string {
	digits := strconv.FormatInt(int64(d.Value), 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if d.Scale == 0 {
		return sign + digits
	}
	if missing := int(d.Scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	at := len(digits) - int(d.Scale)
	return sign + digits[:at] + "." + digits[at:]
}

// structure returns a value for encoding/json.
func structure(value any) any {
	switch v := value.(type) {
	case amqp.Table:
		m := make(map[string]any, len(v))
		for k, one := range v {
			m[k] = structure(one)
		}
		return m
	case []any:
		all := make([]any, len(v))
		for i, one := range v {
			all[i] = structure(one)
		}
		return all
	case bool, nil, string, int8, int16, int32, int64, uint8, uint16, uint32:
		return v
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	}
	return text(value)
}

// propertyBytes is more than all properties but the headers take: eight short
// strings and a few numbers.
const propertyBytes = 9*(mostName+1) + 64

// tableSize is how many bytes a table takes, or a few more.
func tableSize(value any) int {
	const most = 9 // of a value of fixed width, with its type
	size := most
	switch v := value.(type) {
	case amqp.Table:
		for k, one := range v {
			size += 1 + len(k) + tableSize(one)
		}
	case []any:
		for _, one := range v {
			size += tableSize(one)
		}
	case string:
		size += len(v)
	case []byte:
		size += len(v)
	}
	return size
}
