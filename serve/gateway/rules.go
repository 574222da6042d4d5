package gateway

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
)

// rules are what a route asks for beyond leading somewhere. Routes without any
// have none, and cost nothing.
type rules struct {
	sticky   *sticky
	mirror   *mirror
	redirect *redirect
	secure   bool // plain HTTP is sent to https
	request  *headerRules
	response *headerRules
	limit    *limiter
	retry    *retry
	times    *times
	deaf     bool // no header names a tag
	tell     bool // the instance learns whether its request came for a tag
}

func (s *state) rules(namespace string, spec *api.RouteSpec) *rules {
	x := rules{
		sticky: newSticky(spec.Sticky), mirror: s.mirror(namespace, spec.Mirror), redirect: newRedirect(spec.Redirect),
		secure: spec.TLS != nil && spec.TLS.Redirect, request: newHeaderRules(spec.RequestHeaders), response: newHeaderRules(spec.ResponseHeaders),
		limit: newLimiter(spec.RateLimit), retry: newRetry(spec.Retry), times: routeTimes(spec.Timeouts),
		deaf: spec.TagHeader == api.TagHeaderIgnored, tell: spec.TagHeader == api.TagHeaderTold,
	}
	if x == (rules{}) {
		return nil
	}
	if x.mirror != nil && x.request != nil { // a copy is a copy of what the function sees
		x.mirror.to.rules = &rules{request: x.request}
	}
	return &x
}

// before answers c without a target where the rules say so.
func (x *rules) before(c *call) (done bool) {
	if x.secure && !c.secure() && !c.match.Entry.Local { // inside there is no TLS
		c.redirect(http.StatusMovedPermanently, "https", c.g.secureHost(c.r.Host), c.r.RequestURI)
		return true
	}
	if x.limit != nil {
		if wait := x.limit.take(c); wait > 0 {
			c.fail(&api.Error{Code: api.CodeRateLimited, Message: "too many requests", RetryAfter: wait})
			return true
		}
	}
	if x.redirect != nil {
		x.redirect.answer(c)
		return true
	}
	return false
}

// secure reports whether the client came over TLS.
func (c *call) secure() bool {
	return c.r.TLS != nil || c.g.c.TrustForwarded && first(c.r.Header, "X-Forwarded-Proto") == "https"
}

// secureHost is where plain requests to h go when they are sent to https.
func (g *Gateway) secureHost(h string) string {
	h = host(h)
	if p := g.c.TLSPort; p != 0 && p != 443 {
		h += ":" + strconv.Itoa(p)
	}
	return h
}

type redirect struct {
	status             int
	scheme, host, path string
}

func newRedirect(r *api.Redirect) *redirect {
	if r == nil {
		return nil
	}
	d := &redirect{r.Status, r.Scheme, r.Host, r.Path}
	if d.status == 0 {
		d.status = http.StatusFound
	}
	return d
}

func (d *redirect) answer(c *call) {
	scheme, host, uri := d.scheme, d.host, c.r.RequestURI
	if scheme == "" {
		if scheme = "http"; c.secure() {
			scheme = "https"
		}
	}
	if host == "" {
		host = c.r.Host
	}
	if d.path != "" {
		_, query, has := strings.Cut(uri, "?")
		uri = d.path
		for name, value := range c.vars {
			if s := c.match.Entry.Spec; strings.HasSuffix(s.Path+s.Prefix, "{"+name+"...}") {
				segments := strings.Split(value, "/")
				for i := range segments {
					segments[i] = url.PathEscape(segments[i])
				}
				value = strings.Join(segments, "/")
			} else {
				value = url.PathEscape(value)
			}
			uri = strings.ReplaceAll(strings.ReplaceAll(uri, "{"+name+"}", value), "{"+name+"...}", value)
		}
		if has {
			uri += "?" + query
		}
	}
	c.redirect(d.status, scheme, host, uri)
}

func (c *call) redirect(status int, scheme, host, uri string) {
	if uri == "" || uri[0] != '/' {
		uri = c.r.URL.RequestURI()
	}
	h := c.w.Header()
	c.cross(h)
	h.Set("Location", scheme+"://"+host+uri)
	h.Set("X-Request-Id", c.id)
	h.Set("Content-Length", "0")
	c.status = status
	c.w.WriteHeader(status)
}

// headerRules change a header.
type headerRules struct {
	host   string          // instead of the client's; empty: that one
	remove map[string]bool // canonical; also those that are set
	add    []frame.Field
}

func newHeaderRules(r *api.HeaderRules) *headerRules {
	if r == nil {
		return nil
	}
	x := &headerRules{remove: map[string]bool{}}
	for _, n := range r.Remove {
		x.remove[canonical(n)] = true
	}
	for n, v := range r.Set {
		if canonical(n) == "Host" { // no field: each protocol has its own place for it
			x.host = v
			continue
		}
		x.remove[canonical(n)] = true
		x.add = append(x.add, frame.Field{Name: canonical(n), Value: v})
	}
	for n, v := range r.Add {
		x.add = append(x.add, frame.Field{Name: canonical(n), Value: v})
	}
	return x
}

// authority is the host the instance sees.
func (c *call) authority() string {
	if x := c.target.rules; x != nil && x.request != nil && x.request.host != "" {
		return x.request.host
	}
	return c.r.Host
}

// fields changes a request's header.
func (x *headerRules) fields(f []frame.Field) []frame.Field {
	kept := f[:0]
	for _, v := range f {
		if !x.remove[v.Name] {
			kept = append(kept, v)
		}
	}
	return append(kept, x.add...)
}

// header changes an answer's.
func (x *headerRules) header(h http.Header) {
	for n := range x.remove {
		delete(h, n)
	}
	for _, v := range x.add {
		h.Add(v.Name, v.Value)
	}
}

// times are limits besides the call's timeout; 0: none.
type times struct {
	whole time.Duration // to the last byte, also of an answer that streams
	start time.Duration // to the first
	idle  time.Duration // between two parts of the answer, also before the first
}

func routeTimes(t *api.Timeouts) *times {
	if t == nil {
		return nil
	}
	return newTimes(t.Request, t.ResponseStart, t.Idle)
}

func newTimes(whole, start, idle *api.Duration) *times {
	t := times{whole.Or(0), start.Or(0), idle.Or(0)}
	if t == (times{}) {
		return nil
	}
	return &t
}

// over is t with the limits that o sets.
func (t *times) over(o *times) *times {
	switch {
	case o == nil:
		return t
	case t == nil:
		return o
	}
	m := *t
	if o.whole > 0 {
		m.whole = o.whole
	}
	if o.start > 0 {
		m.start = o.start
	}
	if o.idle > 0 {
		m.idle = o.idle
	}
	return &m
}

// head is the time an answer may take to begin.
func (t *times) head(timeout time.Duration) time.Duration {
	if t.whole > 0 {
		timeout = t.whole
	}
	for _, d := range [...]time.Duration{t.start, t.idle} {
		if d > 0 {
			timeout = min(timeout, d)
		}
	}
	return timeout
}

// lap gives the next part of an answer its time. known says that the answer has
// a length: its timeout then runs on from the arrival of the request, and
// otherwise is the longest silence.
func (c *call) lap(a answer, known bool) {
	t := c.times
	if t == nil {
		if !known {
			a.SetDeadline(c.timeout)
		}
		return
	}
	left, gone := c.timeout, time.Since(c.start)
	switch {
	case t.whole > 0:
		left = t.whole - gone
	case known:
		left -= gone
	}
	if t.idle > 0 {
		left = min(left, t.idle)
	}
	a.SetDeadline(max(left, 1))
}
