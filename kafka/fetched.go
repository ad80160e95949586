package kafka

import (
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
)

// fetched is what one response has of a partition.
type fetched struct {
	partition     int32
	code          int16
	highWatermark int64
	chunk         *chunk
	err           error // why the chunk ends where it does
}

// read reads a response. Its memory belongs to the chunks, or is given back.
func (f *fetcher) read(r *response, version int16) (set []fetched, err error) {
	d := decoder{b: r.buf}
	d.int32() // throttle time
	if version >= 7 {
		if code := d.int16(); code != 0 {
			responses.Put(r)
			return nil, fmt.Errorf("fetch: %w", codeError(code))
		}
		d.int32() // session
	}
	for range d.count(6) {
		d.string()
		for range d.count(30) {
			set = append(set, f.partition(&d, r, version))
		}
	}
	if err := d.err(); err != nil {
		return nil, fmt.Errorf("fetch response: %w", err)
	}
	if r.refs == 0 {
		responses.Put(r)
	}
	return set, nil
}

// partition reads the part of one partition.
func (f *fetcher) partition(d *decoder, r *response, version int16) (p fetched) {
	p.partition, p.code = d.int32(), d.int16()
	p.highWatermark = d.int64()
	d.int64() // last stable offset
	if version >= 5 {
		d.int64() // log start offset
	}
	s := sectioner{}
	for range d.count(16) {
		s.aborts = append(s.aborts, aborted{d.int64(), d.int64()})
	}
	if version >= 11 {
		d.int32() // preferred replica
	}
	set := d.bytes()
	q := f.find(p.partition)
	if q == nil || d.bad {
		p.code = int16(kafkago.Unknown)
		return p
	}
	p.chunk, p.err = s.cut(set, q.at)
	if len(p.chunk.sections) > 0 {
		p.chunk.response = r
		r.refs++
	}
	return p
}
