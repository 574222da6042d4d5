package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
)

// call is one request on its way. It is used again after end; nothing that
// outlives the handler may refer to it.
type call struct {
	g        *Gateway
	w        http.ResponseWriter
	r        *http.Request
	start    time.Time
	id       string
	trace    string // traceparent
	match    match
	target   *target
	rev      *revision
	fn       *function
	prefix   string // cut off the path
	path     string // with query, as the function sees it
	invoked  bool
	near     bool // it came to the address instances call
	timeout  time.Duration
	times    *times // nil: none but timeout
	tries    int    // calls made again
	tagged   bool   // it asked for a tag
	fault    bool   // gRPC's status says that the function failed
	mirrored bool   // a copy, whose answer is dropped
	counts   *counts

	cold     bool
	queued   time.Duration
	instance string

	status int // of the answer; 0: none was sent
	code   api.Code
	out    int64
	body   body
	pumped chan struct{} // closed when the body is no longer read; nil: not pumped
	opened *opened       // it goes on without the handler; nil: it does not

	fields  []frame.Field // scratch for the request's header
	scratch []byte
	small   []byte // a small body
	frq     frame.Request
	hrq     h1.Request
}

func (g *Gateway) begin(w http.ResponseWriter, r *http.Request) *call {
	c := g.pool.Get().(*call)
	c.g, c.w, c.r, c.start = g, w, r, time.Now()
	c.identify()
	return c
}

// end writes down what happened, unless the call goes on, and gives c back.
func (g *Gateway) end(c *call) {
	var seen *observed
	if c.rev != nil && !c.mirrored {
		seen = c.rev.seen.Load()
	}
	k := record.Call{Status: c.status}
	if c.fn != nil {
		path, _, _ := strings.Cut(c.path, "?")
		k = record.Call{
			Time: c.start, Request: c.id, Tenant: c.fn.namespace, Function: c.fn.name, Instance: c.instance,
			Method: c.r.Method, Path: path, Status: c.status, Queued: c.queued, Cold: c.cold,
			In: c.body.n.Load(), Out: c.out, Code: string(c.code), Trace: c.trace[3:35], Route: c.target.route,
		}
		if c.rev != nil {
			k.Revision = c.rev.name
		}
	}
	if c.opened != nil {
		g.open(c.opened, k, c.counts, seen)
	} else {
		fault := c.fault || c.code != "" && c.code.Row().Status >= 500 // also one that broke off in the middle
		g.note(&k, time.Since(c.start), c.counts, seen, fault)
	}
	fields, scratch, small := c.fields[:cap(c.fields)], c.scratch[:0], c.small
	clear(fields)
	*c = call{fields: fields[:0], scratch: scratch, small: small}
	g.pool.Put(c)
}

// note writes a call down: as a record where it is of a function, in the counts
// of the function, and in those of the revision, where it is watched.
func (g *Gateway) note(k *record.Call, took time.Duration, counts *counts, seen *observed, fault bool) {
	if seen != nil {
		seen.done(k.Status, fault, took)
	}
	if counts == nil {
		counts = &g.m.none
	}
	counts.done(k.Status, took)
	if g.c.Records != nil && k.Function != "" {
		k.Duration = took
		g.c.Records.AddCall(*k)
	}
}

// open joins a call's connections, and ends the call when they have ended.
func (g *Gateway) open(o *opened, k record.Call, counts *counts, seen *observed) {
	l := o.lease
	o.pair.Ended = func(in, out int64) {
		l.Release(false)
		counts.inFlight.Add(-1)
		k.In, k.Out = in, out
		g.note(&k, time.Since(k.Time), counts, seen, false)
	}
	g.relay.Join(o.pair)
}

// answer makes the call.
func (g *Gateway) answer(c *call) {
	x := c.target.rules
	if x != nil && x.before(c) {
		return
	}
	rev, fn := c.target.choose(c)
	if rev == nil {
		g.catchUp(c.r.Context())
		rev, fn = c.target.choose(c)
	}
	c.fn, c.rev = fn, rev
	if fn != nil {
		c.counts = g.m.of(fn)
		c.counts.inFlight.Add(1)
		defer func() {
			if c.opened == nil {
				c.counts.inFlight.Add(-1)
			}
		}()
	}
	switch {
	case rev == nil && (fn == nil || !fn.exists.Load()):
		c.fail(&api.Error{Code: api.CodeNotReady, Message: "the route leads to a function or revision that does not exist", Hint: "hearth describe route/NAME says which", RetryAfter: 5 * time.Second})
		return
	case rev == nil:
		c.fail(&api.Error{Code: api.CodeNotReady, Message: "the function has no revision that is ready yet", RetryAfter: time.Second})
		return
	}
	if c.timeout = rev.timeout; c.target.timeout > 0 {
		c.timeout = c.target.timeout
	}
	limit := c.timeout
	if c.times = rev.times; x != nil && x.times != nil {
		c.times = rev.times.over(x.times)
	}
	if c.times != nil {
		limit = c.times.head(c.timeout)
	}
	c.body.limit = rev.limit
	if c.r.ContentLength > rev.limit {
		c.fail(tooLarge(rev.limit))
		return
	}
	ctx := &deadlineContext{Context: c.r.Context(), at: c.start.Add(limit)}
	defer ctx.cancel()
	if err := c.prepare(); err != nil {
		c.fail(err)
		return
	}
	if x != nil && x.mirror != nil && x.mirror.turn() {
		c.copyTo(x.mirror)
		defer c.copied(x.mirror)
	}
	for {
		err := c.attempt(ctx)
		if err == nil {
			return
		}
		if !c.again(ctx, err) {
			c.fail(err)
			return
		}
	}
}

// attempt gets an instance and makes the call on it.
func (c *call) attempt(ctx *deadlineContext) (err error) {
	l, err := c.g.c.Waker.Acquire(ctx, c.rev.object())
	if err != nil {
		if e := ctx.Err(); e != nil && !api.IsCode(err, api.CodeQueueTimeout) {
			return ended(e)
		}
		return err
	}
	broken := false
	defer func() {
		if c.opened != nil {
			c.opened.lease = l
			return
		}
		if broken && api.IsCode(err, api.CodeTimeout) {
			l.Abandon()
		} else {
			l.Release(broken)
		}
	}()
	c.instance = l.Instance.ID()
	if c.cold = c.cold || l.Cold; l.Cold {
		c.counts.cold.Add(1)
	}
	if l.Queued > 0 {
		c.queued += l.Queued
		c.counts.queued.Add(uint64(l.Queued))
	}
	if c.invoked { // for the owner only: the public learns nothing about revisions
		h := c.w.Header()
		h.Set("X-Hearth-Revision", c.rev.name)
		h.Set("X-Hearth-Start", temperature(c.cold))
	}
	left := time.Until(ctx.at)
	if left <= 0 { // its turn came as its time was over: all of it was spent in the queue
		return &api.Error{Code: api.CodeQueueTimeout, Message: "no instance was free before the call's time was over", RetryAfter: time.Second}
	}
	broken, err = c.forward(l, left)
	if broken && c.invoked && api.IsCode(err, api.CodeInstanceLost) {
		err = because(err, l.Instance)
	}
	return err
}

// because adds why the instance ended, if that is known in a moment.
func because(err error, in engine.Instance) error {
	t := time.NewTimer(500 * time.Millisecond)
	defer t.Stop()
	select {
	case <-in.Done():
	case <-t.C:
		return err
	}
	e := *api.AsError(err)
	if x := in.Exit(); x.Reason != "" {
		e.Message += ": " + x.Reason
	}
	return &e
}

func temperature(cold bool) string {
	if cold {
		return "cold"
	}
	return "warm"
}

func ended(err error) error {
	if err == context.Canceled {
		return &api.Error{Code: api.CodeCanceled, Message: "the caller went away", Cause: err}
	}
	return &api.Error{Code: api.CodeTimeout, Message: "the function did not answer in time", Cause: err}
}

// deadlineContext is a request's context with a deadline, whose timer is made
// only when someone waits for it.
type deadlineContext struct {
	context.Context
	at    time.Time
	mu    sync.Mutex
	inner context.Context
	stop  context.CancelFunc
}

// Deadline implements context.Context.
func (d *deadlineContext) Deadline() (time.Time, bool) { return d.at, true }

// Done implements context.Context.
func (d *deadlineContext) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		d.inner, d.stop = context.WithDeadline(d.Context, d.at)
	}
	return d.inner.Done()
}

// Err implements context.Context.
func (d *deadlineContext) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner != nil {
		return d.inner.Err()
	}
	if err := d.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(d.at) {
		return context.DeadlineExceeded
	}
	return nil
}

func (d *deadlineContext) cancel() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
}

// fail answers with an error where no answer has begun.
func (c *call) fail(err error) {
	e := api.AsError(err)
	status := e.Code.Row().Status
	c.failWith(status, e)
}

func (c *call) failWith(status int, e *api.Error) {
	c.code = e.Code
	if e.Cause != nil && status >= 500 {
		c.g.log.Debug("call failed", "request", c.id, "code", e.Code, "error", e.Message, "cause", e.Cause)
	}
	if c.status != 0 { // the answer has begun: end it so that the client sees it is not whole
		if e.Code == api.CodeCanceled {
			c.status = 499
		}
		panic(http.ErrAbortHandler)
	}
	if e.Code == api.CodeCanceled && c.malformed(e) {
		status, e = http.StatusBadRequest, &api.Error{Code: api.CodeUsage, Message: "the request's body is malformed", Hint: "send it with one length, or in chunks that are well formed"}
		c.code = e.Code
	}
	c.status = status
	if e.Code == api.CodeCanceled {
		panic(http.ErrAbortHandler) // nobody is there to read an answer, so none is made up
	}
	h := c.w.Header()
	h.Set("X-Hearth-Error", string(e.Code))
	h.Set("X-Request-Id", c.id)
	h.Set("Cache-Control", "no-store")
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable || e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(max(1, int((e.RetryAfter+time.Second-1)/time.Second))))
	}
	c.cross(h)
	if c.r.ContentLength != 0 && c.body.rest(c.r) {
		h.Set("Connection", "close")
	}
	message, detail, hint := public(e), "", e.Help()
	if c.invoked && e.Code != api.CodeInternal { // by the owner
		message, detail = e.Message, e.Detail
		if c.fn != nil {
			hint = e.HelpFor(c.fn.name)
		}
	}
	if c.isGRPC() {
		c.failGRPC(e, message)
		return
	}
	if accept := c.r.Header.Get("Accept"); strings.Contains(accept, "text/") && !strings.Contains(accept, "json") {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		c.w.WriteHeader(status)
		n, _ := c.w.Write([]byte(message + "\n" + hint + "\nrequest " + c.id + "\n"))
		c.out = int64(n)
		return
	}
	type inner struct {
		Code    api.Code `json:"code"`
		Message string   `json:"message"`
		Hint    string   `json:"hint,omitempty"`
		Detail  string   `json:"detail,omitempty"`
	}
	b, _ := json.Marshal(struct {
		Error     inner  `json:"error"`
		RequestID string `json:"requestId"`
	}{inner{e.Code, message, hint, detail}, c.id})
	h.Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	n, _ := c.w.Write(append(b, '\n'))
	c.out = int64(n)
}

// malformed reports whether it was not the caller who went away, but what he
// sent that could not be read.
func (c *call) malformed(e *api.Error) bool {
	var lost net.Error
	return c.body.r != nil && c.r.Context().Err() == nil && e.Cause != nil && c.body.failed.Load() &&
		!errors.Is(e.Cause, io.ErrUnexpectedEOF) && !errors.As(e.Cause, &lost)
}

// cross adds what a route adds to every answer: its cross-origin headers and
// those of its rules.
func (c *call) cross(h http.Header) {
	if c.target == nil {
		return
	}
	if x := c.target.rules; x != nil && x.response != nil {
		x.response.header(h)
	}
	if c.target.cors == nil {
		return
	}
	if origin := c.r.Header.Get("Origin"); origin != "" {
		c.target.cors.answer(h, origin)
	}
}

// public is the message for the world: what user code or the host said about
// itself stays with the owner.
func public(e *api.Error) string {
	switch e.Code {
	case api.CodeLoadFailed:
		return "the function's code does not load"
	case api.CodeStartFailed:
		return "the function could not be started"
	case api.CodeInternal:
		return "internal error"
	case api.CodeNoRuntime:
		return "the function's runtime is missing on this machine"
	}
	return e.Message
}
