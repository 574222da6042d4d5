package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
	"github.com/hearth-run/hearth/serve/gateway/h2"
)

// smallBody is how long a body of known length may be to travel with the head,
// in one write.
const smallBody = 16 << 10

// body counts a request's body and holds its limit.
type body struct {
	r     io.Reader
	limit int64
	n     atomic.Int64
	done  atomic.Bool // EOF was seen

	failed atomic.Bool // reading it did
	tee    *tee        // keeps what is read; nil: nothing does
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.n.Add(int64(n)) > b.limit {
		return 0, tooLarge(b.limit)
	}
	if b.tee != nil {
		b.tee.take(p[:n])
	}
	switch {
	case err == io.EOF:
		b.done.Store(true)
	case err != nil:
		b.failed.Store(true)
	}
	return n, err
}

// pumped is a body read by another goroutine; Close says that it no longer is.
type pumped struct {
	*body
	done chan struct{}
}

// Close implements io.Closer; it is called once.
func (p *pumped) Close() error {
	close(p.done)
	return nil
}

// rest reports whether some of the request's body was not read.
func (b *body) rest(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && !b.done.Load() && (r.ContentLength < 0 || b.n.Load() < r.ContentLength)
}

func tooLarge(limit int64) *api.Error {
	return &api.Error{Code: api.CodeTooLarge, Message: fmt.Sprintf("the request's body is larger than the %d bytes the function takes", limit)}
}

// read takes a small body into memory; then nothing needs to be pumped.
func (c *call) read() error {
	c.body.r = c.r.Body
	n := c.r.ContentLength
	if n <= 0 || n > smallBody {
		return nil
	}
	if cap(c.small) < int(n) {
		c.small = make([]byte, smallBody)
	}
	// A client that sends slowly holds no instance: it has not been asked for.
	rc := http.NewResponseController(c.w)
	rc.SetReadDeadline(c.start.Add(c.timeout))
	_, err := io.ReadFull(&c.body, c.small[:n])
	rc.SetReadDeadline(time.Time{})
	if err != nil {
		return bodyError(err)
	}
	return nil
}

func bodyError(err error) error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &api.Error{Code: api.CodeTimeout, Message: "the request's body did not come in time", Cause: err}
	}
	return &api.Error{Code: api.CodeCanceled, Message: "the request's body ended early", Cause: err}
}

// repeatable reports whether a call that failed with err may be made again.
func repeatable(r *http.Request, err error) bool {
	if errors.Is(err, h2.ErrUnanswered) && r.ContentLength >= 0 && r.ContentLength <= smallBody {
		return true // the instance said that it has not begun
	}
	return unanswered(err) && h1.Idempotent(r.Method) && (r.Body == nil || r.Body == http.NoBody)
}

// unanswered reports whether an instance was lost before any of its answer came.
func unanswered(err error) bool {
	return errors.Is(err, frame.ErrUnanswered) || errors.Is(err, h1.ErrUnanswered)
}
