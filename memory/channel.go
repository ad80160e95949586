package memory

import (
	"context"
	"errors"

	"github.com/fa5182d2/messaging"
)

func newChannel(b *Backend, o *options) *channel { panic("queue half") }

func (c *channel) openQueue(o *options) (*queue, error) { panic("queue half") }

// publish stores recs in the log and in every subscription whose pattern
// matches, in the order of recs and of calls. ErrNotFound when the channel was deleted.
func (c *channel) publish(recs []*record) error { panic("queue half") }

func newPublisher(c *channel, o *options) messaging.Publisher { panic("queue half") }

type subscription struct{}
type recent struct{}
type queue struct{ messaging.QueueSubscriber }

var _, _ = errors.New, context.Background
