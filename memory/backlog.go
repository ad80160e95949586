package memory

// backlog is what a channel without a log keeps for its default subscription
// until that is opened. The channel's mutex guards it.
type backlog struct {
	items deque[item]
	bytes int
}

// keep adds recs to the backlog. Once there are subscribers it keeps to the
// retention: a default subscription that is never opened must not grow for
// ever.
func (c *channel) keep(recs []*record) {
	for _, r := range recs {
		m := c.item(r)
		c.pages.hold(m.page)
		c.backlog.items.push(m)
		c.backlog.bytes += len(r.body)
	}
	for c.subscribed && c.made.retain >= 0 && c.backlog.bytes > c.made.retain {
		m := c.backlog.items.pop()
		c.backlog.bytes -= m.written().bodySize()
		c.pages.drop(m.page)
	}
}

// claim gives s, which is the default subscription and new, what was published
// before, as far as it is retained.
func (c *channel) claim(s *subscription) {
	c.claimed = true
	if c.log != nil {
		s.publish(c.log.retained())
		c.pages.close()
		return
	}
	var read cutter
	for c.backlog.items.len() > 0 {
		m := c.backlog.items.pop()
		r := read.record(m.written())
		r.place = place{m.page, m.pos}
		s.publish([]*record{r})
		c.pages.drop(m.page)
	}
	c.backlog = backlog{}
}
