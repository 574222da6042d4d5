package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func validateRoute(obj any) (errs []FieldError) {
	r := obj.(*Route)
	s := r.Spec
	bad := func(path, hint, format string, args ...any) {
		errs = append(errs, FieldError{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if why := checkHost(s.Host); why != "" {
		bad("spec.host", "such as shop.example.com or *.example.com; leave it out for any host", "%s", why)
	}
	for i, h := range s.Hosts {
		if why := checkHost(h); why != "" || h == "" {
			bad(fmt.Sprintf("spec.hosts[%d]", i), "such as [shop.example.com, www.example.com]", "%q is not a host name such as api.example.com or *.example.com", h)
		}
	}
	for _, h := range RouteHosts(&s) {
		if ns, ok := ClusterHost(h); ok && r.Metadata.Namespace != "" && ns != r.Metadata.Namespace {
			path := "spec.hosts"
			if strings.EqualFold(h, s.Host) {
				path = "spec.host"
			}
			bad(path, "such as shop."+r.Metadata.Namespace+".svc."+ClusterDomain, "%q is a name of another namespace", h)
		}
	}
	switch {
	case (s.Path == "") == (s.Prefix == ""):
		bad("spec", "such as prefix: /", "exactly one of path and prefix is needed")
	case s.Path != "":
		if why := checkPattern(s.Path); why != "" {
			bad("spec.path", "such as /orders/{id}", "%s", why)
		}
	default:
		if why := checkPattern(s.Prefix); why != "" {
			bad("spec.prefix", "such as /shop", "%s", why)
		}
	}
	for i, m := range s.Methods {
		if !method.MatchString(m) {
			bad(fmt.Sprintf("spec.methods[%d]", i), "such as [GET, POST], in capitals", "%q is not a method", m)
		}
	}
	errs = append(errs, validateTargets(&s)...)
	if c := s.CORS; c != nil && c.AllowCredentials && slices.Contains(c.AllowOrigins, "*") {
		bad("spec.cors", "name the origins, such as allowOrigins: [https://shop.example.com]", "allowCredentials does not go with the origin *")
	}
	if k := s.Sticky; k != nil {
		switch {
		case (k.Cookie == "") == (k.Header == ""):
			bad("spec.sticky", "such as sticky: {cookie: visit}", "exactly one of cookie and header is needed")
		case !token(k.Cookie + k.Header):
			bad("spec.sticky", "such as visit or X-User", "%q is not a name of a cookie or header", k.Cookie+k.Header)
		}
	}
	if m := s.Mirror; m != nil && (m.Function == "") == (m.Revision == "") {
		bad("spec.mirror", "such as mirror: {revision: shop-7, percent: 10}", "exactly one of function and revision is needed")
	}
	errs = append(errs, validateHeaders("spec.requestHeaders", s.RequestHeaders, true)...)
	errs = append(errs, validateHeaders("spec.responseHeaders", s.ResponseHeaders, false)...)
	errs = append(errs, validateLimits(&s)...)
	return append(errs, validateTLS(&s)...)
}

// validateTargets checks where requests go.
func validateTargets(s *RouteSpec) (errs []FieldError) {
	if r := s.Redirect; r != nil {
		if len(s.Targets) > 0 {
			errs = append(errs, FieldError{Path: "spec.redirect", Message: "a route has either targets or a redirect", Hint: "remove spec.targets, or make two routes"})
		}
		if !slices.Contains([]int{0, 301, 302, 303, 307, 308}, r.Status) {
			errs = append(errs, FieldError{Path: "spec.redirect.status", Message: fmt.Sprintf("%d is none of 301, 302, 303, 307, 308", r.Status), Hint: "such as 308"})
		}
		if r.Path != "" && !strings.HasPrefix(r.Path, "/") {
			errs = append(errs, FieldError{Path: "spec.redirect.path", Message: fmt.Sprintf("%q must start with /", r.Path), Hint: "such as /new/{name}"})
		}
		if r.Host != "" && !isHostPort(r.Host) {
			errs = append(errs, FieldError{Path: "spec.redirect.host", Message: fmt.Sprintf("%q is not a host", r.Host), Hint: "such as www.example.com or www.example.com:8443"})
		}
		if r.Scheme == "" && r.Host == "" && r.Path == "" {
			errs = append(errs, FieldError{Path: "spec.redirect", Message: "at least one of scheme, host and path is needed", Hint: "such as redirect: {host: www.example.com}"})
		}
		return errs
	}
	if len(s.Targets) == 0 {
		return []FieldError{{Path: "spec.targets", Message: "at least one is needed", Hint: "such as targets: [{function: shop}]"}}
	}
	total, tags := 0, map[string]bool{}
	for i, t := range s.Targets {
		p := fmt.Sprintf("spec.targets[%d]", i)
		if (t.Function == "") == (t.Revision == "") {
			errs = append(errs, FieldError{Path: p, Message: "exactly one of function and revision is needed", Hint: "such as {function: shop} or {revision: shop-7}"})
		}
		errs = append(errs, checkTag(p+".tag", t.Tag, tags)...)
		if t.Weight == nil {
			total++
		} else {
			total += *t.Weight
		}
	}
	if total == 0 {
		errs = append(errs, FieldError{Path: "spec.targets", Message: "all weights are 0", Hint: "leave weight out for equal shares, or such as weight: 90 and weight: 10"})
	}
	return errs
}

func checkTag(path, tag string, seen map[string]bool) (errs []FieldError) {
	if tag == "" {
		return nil
	}
	if why := CheckName(tag); why != "" || tag[0] >= '0' && tag[0] <= '9' || len(tag) > 40 {
		errs = append(errs, FieldError{Path: path, Message: fmt.Sprintf("%q is not a tag: at most 40 lower-case letters, digits and hyphens, a letter first", tag), Hint: "such as beta"})
	}
	if seen[tag] {
		errs = append(errs, FieldError{Path: path, Message: fmt.Sprintf("%q is given twice", tag), Hint: "each target has a tag of its own"})
	}
	seen[tag] = true
	return errs
}

// fixed are headers rules may not touch: how a message is framed is decided by
// the gateway. A request's host may be set, as it has exactly one.
var fixed = []string{
	"connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

func validateHeaders(path string, r *HeaderRules, request bool) (errs []FieldError) {
	if r == nil {
		return nil
	}
	name := func(at, n string) {
		switch lower := strings.ToLower(n); {
		case lower == "host" && request && at == ".set":
			if !isHostPort(r.Set[n]) {
				errs = append(errs, FieldError{Path: path + at + "." + n, Message: fmt.Sprintf("%q is not a host", r.Set[n]), Hint: "such as www.example.com or www.example.com:8443"})
			}
		case !token(n):
			errs = append(errs, FieldError{Path: path + at, Message: fmt.Sprintf("%q is not a header's name", n), Hint: "such as X-Frame-Options"})
		case slices.Contains(fixed, lower) || strings.HasPrefix(lower, "x-hearth-"):
			errs = append(errs, FieldError{Path: path + at, Message: n + " is set by the gateway alone", Hint: "any header but " + strings.Join(fixed, ", ") + " and X-Hearth-… is allowed"})
		}
	}
	values := func(at string, m map[string]string) {
		for _, n := range slices.Sorted(maps.Keys(m)) {
			name(at, n)
			if strings.ContainsFunc(m[n], func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				errs = append(errs, FieldError{Path: path + at + "." + n, Message: "has a control character", Hint: "a value is one line of text"})
			}
		}
	}
	values(".set", r.Set)
	values(".add", r.Add)
	for _, n := range r.Remove {
		name(".remove", n)
	}
	return errs
}

// isHostPort reports whether s is a host, with a port or without.
func isHostPort(s string) bool {
	host, port, _ := strings.Cut(s, ":")
	return CheckSubdomain(host) == "" && strings.Trim(port, "0123456789") == ""
}

// token reports whether s is a token of RFC 9110.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func validateLimits(s *RouteSpec) (errs []FieldError) {
	positive := func(path string, d *Duration) {
		if d != nil && d.Duration <= 0 {
			errs = append(errs, FieldError{Path: path, Message: "must be more than 0", Hint: "such as 30s; leave it out for no limit"})
		}
	}
	positive("spec.timeout", s.Timeout)
	errs = append(errs, validateTimeouts(s.Timeouts)...)
	if t := s.Timeouts; t != nil {
		if t.Request != nil && s.Timeout != nil {
			errs = append(errs, FieldError{Path: "spec.timeouts.request", Message: "does not go with spec.timeout", Hint: "keep one: timeout lets an answer stream on, timeouts.request does not"})
		}
	}
	if l := s.RateLimit; l != nil {
		positive("spec.rateLimit.per", l.Per)
		header, ok := strings.CutPrefix(l.By, "header:")
		if l.By != "" && l.By != "client" && !(ok && token(header)) {
			errs = append(errs, FieldError{Path: "spec.rateLimit.by", Message: fmt.Sprintf("%q is neither client nor header:NAME", l.By), Hint: "such as header:X-Api-Key"})
		}
	}
	if r := s.Retry; r != nil {
		all := []string{RetryConnectFailure, Retry502, Retry503, Retry504}
		for i, on := range r.On {
			if !slices.Contains(all, on) {
				errs = append(errs, FieldError{Path: fmt.Sprintf("spec.retry.on[%d]", i), Message: fmt.Sprintf("%q is none of %s", on, strings.Join(all, ", ")), Hint: "such as on: [connect-failure, 503]"})
			}
		}
	}
	return errs
}

func validateTimeouts(t *Timeouts) (errs []FieldError) {
	if t == nil {
		return nil
	}
	for _, x := range []struct {
		path string
		d    *Duration
	}{{"request", t.Request}, {"responseStart", t.ResponseStart}, {"idle", t.Idle}} {
		if x.d != nil && x.d.Duration <= 0 {
			errs = append(errs, FieldError{Path: "spec.timeouts." + x.path, Message: "must be more than 0", Hint: "such as 30s; leave it out for no limit"})
		}
	}
	return errs
}

func validateTLS(s *RouteSpec) (errs []FieldError) {
	t := s.TLS
	if t == nil {
		return nil
	}
	hosts := RouteHosts(s)
	switch {
	case t.Secret != "" && t.ACME:
		errs = append(errs, FieldError{Path: "spec.tls", Message: "either secret or acme is given", Hint: "such as tls: {secret: shop-tls}"})
	case t.Secret == "" && !t.ACME && !t.Redirect:
		errs = append(errs, FieldError{Path: "spec.tls", Message: "one of secret, acme and redirect is needed", Hint: "such as tls: {secret: shop-tls, redirect: true}"})
	case (t.Secret != "" || t.ACME) && slices.Contains(hosts, ""):
		errs = append(errs, FieldError{Path: "spec.tls", Message: "a certificate needs a host", Hint: "set spec.host, such as shop.example.com"})
	}
	if t.Secret != "" && CheckSubdomain(t.Secret) != "" {
		errs = append(errs, FieldError{Path: "spec.tls.secret", Message: fmt.Sprintf("%q is not a Secret's name", t.Secret), Hint: "such as shop-tls"})
	}
	for _, h := range hosts {
		if t.ACME && strings.HasPrefix(h, "*.") {
			errs = append(errs, FieldError{Path: "spec.tls.acme", Message: h + " has a wildcard, for which no certificate is issued this way", Hint: "name each host, or use tls: {secret: NAME}"})
		}
	}
	return errs
}

func checkHost(h string) string {
	if h == "" {
		return ""
	}
	if why := CheckSubdomain(strings.TrimPrefix(h, "*.")); why != "" {
		return fmt.Sprintf("%q is not a host name such as api.example.com or *.example.com", h)
	}
	return ""
}

// checkPattern says why p is no path pattern, or returns "".
func checkPattern(p string) string {
	if !strings.HasPrefix(p, "/") {
		return fmt.Sprintf("%q must start with /", p)
	}
	if strings.HasPrefix(p, "/~") {
		return "paths below /~ are the gateway's own"
	}
	seen := map[string]bool{}
	segments := strings.Split(p[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return fmt.Sprintf("%q has an empty or a dot segment", p)
		}
		if !strings.ContainsAny(s, "{}") {
			continue
		}
		name, ok := strings.CutPrefix(s, "{")
		name, ok2 := strings.CutSuffix(name, "}")
		rest := strings.HasSuffix(name, "...")
		name = strings.TrimSuffix(name, "...")
		if !ok || !ok2 || name == "" || strings.ContainsAny(name, "{}") || rest && i < len(segments)-1 {
			return fmt.Sprintf("%q: a variable is a whole segment {name}, or {name...} at the end", s)
		}
		if seen[name] {
			return fmt.Sprintf("variable %q is used twice", name)
		}
		if seen[name] = true; len(seen) > 16 {
			return fmt.Sprintf("%q has more than 16 variables", p)
		}
	}
	return ""
}
