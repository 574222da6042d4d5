package gateway

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
)

// What one limiter remembers.
const (
	limitShards  = 16
	limitPerPart = 2048 // callers, of each shard
)

// limiter allows so many calls in so much time: the generic cell rate
// algorithm, which needs one number per caller.
type limiter struct {
	every  int64  // nanoseconds between two calls at the full rate
	room   int64  // how far ahead of that a burst may run
	header string // canonical; counted by its value
	client bool   // counted by address
	start  time.Time
	all    atomic.Int64
	parts  [limitShards]limitPart
}

type limitPart struct {
	mu  sync.Mutex
	due map[string]int64 // when the caller's next call is due, from start
}

func newLimiter(l *api.RateLimit) *limiter {
	if l == nil || l.Requests <= 0 {
		return nil
	}
	n := &limiter{every: max(1, int64(l.Per.Or(time.Second))/int64(l.Requests)), start: time.Now()}
	burst := l.Burst
	if burst == 0 {
		burst = l.Requests
	}
	n.room = n.every * int64(burst)
	if by, ok := strings.CutPrefix(l.By, "header:"); ok {
		n.header = canonical(by)
	}
	n.client = l.By == "client"
	return n
}

// take counts a call of c; when it is one too many it returns how long to wait.
func (l *limiter) take(c *call) time.Duration {
	now := int64(time.Since(l.start))
	switch {
	case l.client:
		return l.of(c.client(), now)
	case l.header != "":
		return l.of(first(c.r.Header, l.header), now)
	}
	for {
		due := l.all.Load()
		next, wait := l.next(due, now)
		if wait > 0 || l.all.CompareAndSwap(due, next) {
			return wait
		}
	}
}

func (l *limiter) next(due, now int64) (int64, time.Duration) {
	next := max(due, now) + l.every
	if over := next - now - l.room; over > 0 {
		return due, time.Duration(over)
	}
	return next, 0
}

func (l *limiter) of(key string, now int64) time.Duration {
	if len(key) > 256 {
		key = key[:256]
	}
	p := &l.parts[hash(key, "")%limitShards]
	p.mu.Lock()
	defer p.mu.Unlock()
	due, known := p.due[key]
	next, wait := l.next(due, now)
	if wait > 0 {
		return wait
	}
	if !known {
		p.make(now)
		key = strings.Clone(key)
	}
	p.due[key] = next
	return 0
}

// make makes room for one more: callers that have been silent are forgotten,
// which changes nothing, or else one of the others is.
func (p *limitPart) make(now int64) {
	if p.due == nil {
		p.due = map[string]int64{}
	}
	if len(p.due) < limitPerPart {
		return
	}
	looked, freed, any := 0, false, ""
	for k, due := range p.due {
		if due <= now {
			delete(p.due, k)
			freed = true
		}
		if any = k; looked > 32 {
			break
		}
		looked++
	}
	if !freed {
		delete(p.due, any)
	}
}

// client is who calls, for limits: an address, and of IPv6 the network, as one
// client has a whole one.
func (c *call) client() string {
	addr := c.r.RemoteAddr
	if c.g.c.TrustForwarded {
		if v := c.r.Header["X-Forwarded-For"]; len(v) > 0 {
			last := v[len(v)-1]
			addr = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		}
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		p, err := netip.ParseAddrPort(addr)
		if err != nil {
			return addr
		}
		ip = p.Addr()
	}
	if ip = ip.Unmap(); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			ip = p.Addr()
		}
	}
	return ip.String()
}
