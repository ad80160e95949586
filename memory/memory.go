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
}

// Shared between the queue half (subscription.go, queue.go) and the stream half
// (log.go, group.go, stream.go):
//
//	type Backend struct { ... }            // memory.go: exported config fields, channels by name
//	func (b *Backend) now() time.Time      // the broker's wall clock, which StepClock moves
//	type options struct { ... }            // options.go: one parsed URL over the Backend's fields
//	type channel struct {                  // memory.go: one name: its log and its queue subscriptions
//		b     *Backend
//		name  string
//		gate  gate                         // Pause: wait(ctx) error blocks while the broker is paused
//		...
//	}
//	type chaos struct{ ... }               // chaos.go: seeded decisions, roll(p float64) bool; a nil *chaos never rolls true
//
// The stream half gives to the queue half:
//
//	func newLog(c *channel, partitions int) *log
//	func (l *log) append(recs []*record)                   // in call order; assigns partitions by key
//	func (l *log) remove()                                 // Delete: every subscriber's Receive is ErrNotFound
//	func (l *log) open(ctx context.Context, o *options) (*stream, error)
