package kafka

import (
	"bytes"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// packer compresses batches.
type packer struct{ codec compress.Compression }

// pack returns a batch with its records compressed, and by which codec: itself
// where there is none, or where compressing does not make it smaller.
func (p *packer) pack(plain encoder) (wire encoder, codec compress.Compression, err error) {
	if p.codec == compress.None {
		return plain, compress.None, nil
	}
	packed := (*buffers.Get().(*encoder))[:batchHeader]
	w := p.codec.Codec().NewWriter((*appender)(&packed))
	_, err = w.Write(plain[batchHeader:])
	if closed := w.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, compress.None, fmt.Errorf("compress by %v: %w", p.codec, err)
	}
	if len(packed) >= len(plain) {
		recycle(packed)
		return plain, compress.None, nil
	}
	return packed, p.codec, nil
}

// appender is an encoder as a writer.
type appender encoder

func (a *appender) Write(b []byte) (int, error) {
	*a = append(*a, b...)
	return len(b), nil
}

// mostUnpacked is the largest that the records of a batch may be when they are
// decompressed. It is far above what a broker takes, and keeps a few bytes of a
// malicious producer from taking all memory.
const mostUnpacked = 512 << 20

// unpack appends the decompressed records of a batch to a buffer.
func unpack(to []byte, records []byte, codec compress.Compression) (_ []byte, err error) {
	defer func() { // the decoders are not ours, and the bytes are anybody's
		if p := recover(); p != nil {
			err = fmt.Errorf("decompress by %v: %v", codec, p)
		}
	}()
	c := codec.Codec()
	if c == nil {
		return nil, fmt.Errorf("compressed by unknown codec %d", codec)
	}
	r := c.NewReader(bytes.NewReader(records))
	defer r.Close()
	for {
		if len(to) == cap(to) {
			to = append(to, 0)[:len(to)]
		}
		n, err := r.Read(to[len(to):cap(to)])
		to = to[:len(to)+n]
		switch {
		case err == io.EOF:
			return to, nil
		case err != nil:
			return nil, fmt.Errorf("decompress by %v: %w", codec, err)
		case len(to) > mostUnpacked:
			return nil, fmt.Errorf("decompress by %v: more than %d bytes", codec, mostUnpacked)
		}
	}
}
