package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/gateway/h1"
)

// retry makes failed calls again.
type retry struct {
	attempts int // besides the first
	connect  bool
	statuses [3]bool // 502, 503, 504
}

func newRetry(r *api.Retry) *retry {
	if r == nil {
		return nil
	}
	t := &retry{attempts: r.Attempts, connect: len(r.On) == 0 || slices.Contains(r.On, api.RetryConnectFailure)}
	if t.attempts == 0 {
		t.attempts = api.DefaultRetries
	}
	for i, on := range [...]string{api.Retry502, api.Retry503, api.Retry504} {
		t.statuses[i] = len(r.On) == 0 || slices.Contains(r.On, on)
	}
	return t
}

func (t *retry) status(s int) bool { return s >= 502 && s <= 504 && t.statuses[s-502] }

// refused is an answer that is not passed on, because another call is made.
type refused int

func (r refused) Error() string { return fmt.Sprintf("the function answered %d", int(r)) }

// replayable reports whether the same request can be sent again.
func (c *call) replayable() bool {
	r := c.r
	return h1.Idempotent(r.Method) && (r.Body == nil || r.Body == http.NoBody || r.ContentLength >= 0 && r.ContentLength <= smallBody)
}

// refuses reports whether an answer of this status is dropped for another call.
func (c *call) refuses(status int) bool {
	x := c.target.rules
	return x != nil && x.retry != nil && x.retry.status(status) && c.tries < x.retry.attempts && c.replayable()
}

// again reports whether a call that failed with err is made again. Without a
// rule that is done once, when its instance was lost before any of the answer
// came, its method is idempotent and it has no body, or when the instance said
// that it had not begun with it.
func (c *call) again(ctx context.Context, err error) bool {
	if c.status != 0 {
		return false
	}
	var t *retry
	if x := c.target.rules; x != nil {
		t = x.retry
	}
	if t == nil {
		if c.tries > 0 || !repeatable(c.r, err) || ctx.Err() != nil {
			return false
		}
		c.tries++
		return true
	}
	if c.tries >= t.attempts || !c.replayable() || ctx.Err() != nil {
		return false
	}
	if _, ok := err.(refused); !ok && !(unanswered(err) && t.connect) && !t.status(api.AsError(err).Code.Row().Status) {
		return false
	}
	// A moment, that grows: whatever failed has a chance to recover.
	wait := 5 * time.Millisecond << c.tries
	timer := time.NewTimer(wait + rand.N(wait))
	defer timer.Stop()
	c.tries++
	select {
	case <-timer.C:
		return true
	case <-c.r.Context().Done():
		return false
	}
}
