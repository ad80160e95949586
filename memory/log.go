package memory

// log is a channel's stream: its partitions and its groups.
type log struct{}

func newLog(c *channel) *log { panic("stream half") }

// append stores recs in their partitions. The channel calls it with its mutex
// held, in the order of seq.
func (l *log) append(recs []*record) { panic("stream half") }

// remove ends the log: every Receive of it is ErrNotFound.
func (l *log) remove() { panic("stream half") }

// retained returns what the log holds, by seq.
func (l *log) retained() []*record { panic("stream half") }
