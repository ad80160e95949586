package memory

import (
	"time"

	"github.com/fa5182d2/messaging"
)

// record is a published message as the broker keeps it: immutable, and shared
// by everything that holds it. Headers are a copy that is never handed out;
// a string body cannot be written to by anyone.
type record struct {
	id, key, subject string
	headers          messaging.Headers
	body             string
	published        time.Time
	seq              uint64 // place in the channel: one higher for each message
}
