package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// cors are a route's cross-origin rules, ready to be sent.
type cors struct {
	any         bool
	origins     []string
	methods     string
	headers     string // empty: what is asked for
	expose      string
	credentials bool
	maxAge      string
}

func newCORS(c *api.CORS) *cors {
	if c == nil {
		return nil
	}
	out := &cors{
		any: slices.Contains(c.AllowOrigins, "*"), origins: c.AllowOrigins, methods: strings.Join(c.AllowMethods, ", "),
		headers: strings.Join(c.AllowHeaders, ", "), expose: strings.Join(c.ExposeHeaders, ", "), credentials: c.AllowCredentials,
	}
	if c.MaxAge != nil {
		out.maxAge = strconv.Itoa(int(c.MaxAge.Seconds()))
	}
	return out
}

// allow sets the headers for origin and reports whether it may call.
func (c *cors) allow(h http.Header, origin string) bool {
	if c.any && !c.credentials {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Add("Vary", "Origin")
		if !slices.Contains(c.origins, origin) {
			return false
		}
		h.Set("Access-Control-Allow-Origin", origin)
	}
	if c.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	return true
}

// answer sets the headers of an answer to a cross-origin call. The function's
// own are replaced: two would make browsers refuse it.
func (c *cors) answer(h http.Header, origin string) {
	for _, k := range [...]string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers"} {
		delete(h, k)
	}
	if c.allow(h, origin) && c.expose != "" {
		h.Set("Access-Control-Expose-Headers", c.expose)
	}
}

// preflight answers a browser's question.
func (c *cors) preflight(w http.ResponseWriter, r *http.Request, methods []string) {
	h := w.Header()
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if c.allow(h, r.Header.Get("Origin")) {
		m := c.methods
		if m == "" {
			m = strings.Join(methods, ", ")
		}
		if m == "" {
			m = r.Header.Get("Access-Control-Request-Method")
		}
		h.Set("Access-Control-Allow-Methods", m)
		asked := c.headers
		if asked == "" {
			asked = r.Header.Get("Access-Control-Request-Headers")
		}
		if asked != "" {
			h.Set("Access-Control-Allow-Headers", asked)
		}
		if c.maxAge != "" {
			h.Set("Access-Control-Max-Age", c.maxAge)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
