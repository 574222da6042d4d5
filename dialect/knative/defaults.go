package knative

import (
	"strconv"
	"text/template"

	"github.com/hearth-run/hearth/api"
)

// The defaults are set in the objects as they are stored, not in Go values:
// what a client wrote stays as it was written.

func child(m map[string]any, field string) map[string]any {
	c, _ := m[field].(map[string]any)
	return c
}

// ensure is child that makes what is missing.
func ensure(m map[string]any, field string) map[string]any {
	c := child(m, field)
	if c == nil {
		c = map[string]any{}
		m[field] = c
	}
	return c
}

func items(m map[string]any, field string) (out []map[string]any) {
	l, _ := m[field].([]any)
	for _, e := range l {
		if c, ok := e.(map[string]any); ok {
			out = append(out, c)
		}
	}
	return out
}

func text(m map[string]any, field string) string {
	s, _ := m[field].(string)
	return s
}

// number reads a whole number; 0 when there is none.
func number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}

// defaultTraffic completes the targets of a Route or Service. A Service has a
// Configuration of its own, so that no targets mean its latest revision.
func defaultTraffic(spec map[string]any, service bool) {
	l, _ := spec["traffic"].([]any)
	if len(l) == 0 && service {
		spec["traffic"] = []any{map[string]any{"latestRevision": true, "percent": int64(100)}}
		return
	}
	for _, t := range items(spec, "traffic") {
		if t["latestRevision"] == nil {
			t["latestRevision"] = text(t, "revisionName") == ""
		}
		if t["percent"] == nil {
			t["percent"] = int64(0)
		}
	}
}

// defaultRevision completes the spec of a revision. old is what it was before;
// nil for a new object. parent is the metadata of the object it stands in.
func (s Settings) defaultRevision(spec, old, parent map[string]any) {
	if number(spec["timeoutSeconds"]) == 0 {
		spec["timeoutSeconds"] = s.TimeoutSeconds
	}
	for field, v := range map[string]int64{"idleTimeoutSeconds": s.IdleTimeoutSeconds, "responseStartTimeoutSeconds": s.ResponseStartTimeoutSeconds} {
		if spec[field] == nil && v != 0 && v < number(spec["timeoutSeconds"]) {
			spec[field] = v
		}
	}
	if spec["containerConcurrency"] == nil {
		spec["containerConcurrency"] = s.Concurrency
	}
	// The default holds for new objects only; where a later manifest is silent
	// what was written then stays.
	if spec["enableServiceLinks"] == nil {
		if old == nil {
			if s.ServiceLinks != nil {
				spec["enableServiceLinks"] = *s.ServiceLinks
			}
		} else if v := old["enableServiceLinks"]; v != nil {
			spec["enableServiceLinks"] = v
		}
	}
	containers, inits := items(spec, "containers"), items(spec, "initContainers")
	taken := map[string]bool{}
	for _, c := range append(append([]map[string]any{}, containers...), inits...) {
		taken[text(c, "name")] = true
	}
	nameContainers(containers, nameFrom(s.names, parent, "user-container"), taken)
	nameContainers(inits, nameFrom(s.initNames, parent, "init-container"), taken)
	writable := map[string]bool{}
	for _, v := range items(spec, "volumes") {
		writable[text(v, "name")] = v["emptyDir"] != nil
	}
	for _, c := range append(append([]map[string]any{}, containers...), inits...) {
		for _, m := range items(c, "volumeMounts") {
			if !writable[text(m, "name")] {
				m["readOnly"] = true
			}
		}
	}
	for _, c := range inits {
		s.secure(c, child(spec, "securityContext"))
	}
	for _, c := range containers {
		s.defaultResources(ensure(c, "resources"))
		s.secure(c, child(spec, "securityContext"))
		defaultProbes(c, len(containers) == 1 || len(items(c, "ports")) > 0)
	}
}

// defaultResources completes what a container asks for and may use.
func (s Settings) defaultResources(resources map[string]any) {
	for _, list := range []string{"requests", "limits"} {
		for name, v := range s.Resources[list] {
			if l := ensure(resources, list); l[name] == nil {
				l[name] = v
			}
		}
	}
}

// secure takes from a container what it does not ask for, where secure-pod-defaults
// wants that. pod is the security context of all containers.
func (s Settings) secure(c, pod map[string]any) {
	if s.securePods == "" || s.securePods == "disabled" {
		return
	}
	own := ensure(c, "securityContext")
	if own["allowPrivilegeEscalation"] == nil {
		own["allowPrivilegeEscalation"] = false
	}
	if text(child(pod, "seccompProfile"), "type") == "" {
		if p := ensure(own, "seccompProfile"); text(p, "type") == "" {
			p["type"] = "RuntimeDefault"
		}
	}
	if own["capabilities"] == nil {
		k := map[string]any{"drop": []any{"ALL"}}
		for _, p := range items(c, "ports") {
			if n := number(p["containerPort"]); n > 0 && n < 1024 {
				k["add"] = []any{"NET_BIND_SERVICE"}
			}
		}
		own["capabilities"] = k
	}
	if s.securePods == "enabled" && own["runAsNonRoot"] == nil && pod["runAsNonRoot"] == nil {
		own["runAsNonRoot"] = true
	}
}

// nameFrom is the name a template gives to containers of an object.
func nameFrom(t *template.Template, parent map[string]any, usual string) string {
	if t == nil {
		return usual
	}
	name := render(t, named{text(parent, "name"), text(parent, "namespace"), child(parent, "labels"), child(parent, "annotations")})
	if api.CheckName(name) != "" {
		return usual
	}
	return name
}

// nameContainers names those without a name.
func nameContainers(list []map[string]any, base string, taken map[string]bool) {
	next := 0
	for _, c := range list {
		if text(c, "name") != "" {
			continue
		}
		name := base
		if len(list) > 1 || taken[name] {
			for {
				name = base + "-" + strconv.Itoa(next)
				if next++; !taken[name] {
					break
				}
			}
		}
		c["name"], taken[name] = name, true
	}
}

// defaultProbes completes the probes of a container; the one that serves is
// always asked whether it is ready.
func defaultProbes(c map[string]any, serving bool) {
	for _, field := range []string{"readinessProbe", "livenessProbe", "startupProbe"} {
		if g := child(child(c, field), "grpc"); g != nil && g["service"] == nil {
			g["service"] = ""
		}
	}
	if serving {
		p := ensure(c, "readinessProbe")
		if p["tcpSocket"] == nil && p["httpGet"] == nil && p["exec"] == nil && p["grpc"] == nil {
			p["tcpSocket"] = map[string]any{}
		}
	}
	p := child(c, "readinessProbe")
	if p == nil {
		return
	}
	if number(p["successThreshold"]) == 0 {
		p["successThreshold"] = int64(1)
	}
	if number(p["periodSeconds"]) != 0 {
		if number(p["failureThreshold"]) == 0 {
			p["failureThreshold"] = int64(3)
		}
		if number(p["timeoutSeconds"]) == 0 {
			p["timeoutSeconds"] = int64(1)
		}
	}
}
