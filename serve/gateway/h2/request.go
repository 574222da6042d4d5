package h2

import (
	"io"
	"net/http"
	"strconv"
)

// body is the body of a request.
type body struct {
	k         *call
	continues bool        // the client waits to be told to send it
	trailer   http.Header // announced
	closed    bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	k := b.k
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.continues {
		b.continues = false
		if !k.recvEnd && k.off == len(k.data) && !k.w.sent && k.err == nil {
			k.c.field(":status", strconv.Itoa(http.StatusContinue))
			k.c.appendSection(k.id, false)
			k.c.flush()
		}
	}
	n, err := k.read(p)
	if err == io.EOF {
		b.trailers()
	}
	return n, err
}

// trailers are known now that the body has ended. Those not announced are shown
// as well: gRPC and others never announce.
func (b *body) trailers() {
	for _, f := range b.k.trailers {
		name := b.k.s.canonical(f.Name)
		if b.trailer == nil {
			b.trailer = http.Header{}
			b.k.rq.Trailer = b.trailer
		}
		b.trailer[name] = append(b.trailer[name], f.Value)
	}
	b.k.trailers = b.k.trailers[:0]
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.k.c.mu.Lock()
	defer b.k.c.mu.Unlock()
	b.closed = true
	return nil
}
