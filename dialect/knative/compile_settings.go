package knative

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// settingsNamespace is where Knative's ConfigMaps are, if there are any.
const settingsNamespace = "knative-serving"

// settings are what the ConfigMaps config-* override. What cannot be read is as
// if it were not there.
type settings struct {
	retention  retention
	domains    []domain           // of config-domain, the most exact first
	host       *template.Template // domain-template; nil: {{.Name}}.{{.Namespace}}.{{.Domain}}
	rollout    time.Duration      // rollout-duration
	autoClaim  bool               // autocreate-cluster-domain-claims
	redirect   bool               // http-protocol
	deadline   time.Duration      // progress-deadline
	unresolved []string           // registries-skipping-tag-resolving
	tagHeader  string             // tag-header-based-routing: enabled, disabled, or empty
	autoscaler map[string]string
}

func readSettings(v View) settings {
	read := func(name string) map[string]string {
		r, there := v.Get(store.Key{Resource: api.ConfigMaps, Namespace: settingsNamespace, Name: name})
		if !there {
			return nil
		}
		if c := decode[api.ConfigMap](r); c != nil {
			return c.Data
		}
		return nil
	}
	s := settings{retention: defaultRetention(), deadline: 10 * time.Minute, unresolved: []string{"kind.local", "ko.local", "dev.local"}}
	gc := read("config-gc")
	age(gc, "retain-since-create-time", &s.retention.SinceCreate)
	age(gc, "retain-since-last-active-time", &s.retention.SinceActive)
	count(gc, "min-non-active-revisions", &s.retention.MinIdle)
	count(gc, "max-non-active-revisions", &s.retention.MaxIdle)
	network := read("config-network")
	if n, err := strconv.Atoi(network["rollout-duration"]); err == nil && n > 0 {
		s.rollout = time.Duration(n) * time.Second
	}
	s.autoClaim = network["autocreate-cluster-domain-claims"] == "true"
	s.redirect = strings.EqualFold(network["http-protocol"], "redirected")
	s.domains = domains(read("config-domain"))
	if text := network["domain-template"]; text != "" {
		if t, err := template.New("domain-template").Parse(text); err == nil {
			s.host = t
		}
	}
	deployment := read("config-deployment")
	if d, err := time.ParseDuration(deployment["progress-deadline"]); err == nil && d > 0 {
		s.deadline = d
	}
	if list, ok := deployment["registries-skipping-tag-resolving"]; ok {
		s.unresolved = strings.Split(strings.ReplaceAll(list, " ", ""), ",")
	}
	s.tagHeader = strings.ToLower(read("config-features")["tag-header-based-routing"])
	s.autoscaler = read("config-autoscaler")
	return s
}

func age(m map[string]string, name string, to *time.Duration) {
	if m[name] == "disabled" {
		*to = disabled
	} else if d, err := time.ParseDuration(m[name]); err == nil && d >= 0 {
		*to = d
	}
}

func count(m map[string]string, name string, to *int) {
	if m[name] == "disabled" {
		*to = disabled
	} else if n, err := strconv.Atoi(m[name]); err == nil && n >= 0 {
		*to = n
	}
}

// domain ends the hosts of Routes with certain labels.
type domain struct {
	name   string
	labels map[string]string
}

// domains reads config-domain: by domain, "selector:" and a label on each line,
// or nothing for everybody's. Longer selectors come first.
func domains(data map[string]string) (out []domain) {
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if strings.HasPrefix(name, "_") { // the example
			continue
		}
		d := domain{name, map[string]string{}}
		for line := range strings.Lines(data[name]) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
			if v = strings.Trim(strings.TrimSpace(v), `"'`); v != "" {
				d.labels[k] = v
			}
		}
		if name != localDomain || len(d.labels) > 0 {
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b domain) int { return len(b.labels) - len(a.labels) })
	return out
}

// domainOf is the domain of a Route; "" where the node's own holds.
func (s settings) domainOf(labels map[string]string) string {
next:
	for _, d := range s.domains {
		for k, v := range d.labels {
			if labels[k] != v {
				continue next
			}
		}
		return d.name
	}
	return ""
}

// hostOf is the host of a Route, as domain-template says.
func (s settings) hostOf(m *api.Meta, domain string) string {
	if s.host != nil {
		var b strings.Builder
		err := s.host.Execute(&b, map[string]any{
			"Name": m.Name, "Namespace": m.Namespace, "Domain": domain, "Annotations": m.Annotations, "Labels": m.Labels,
		})
		if host := b.String(); err == nil && api.CheckSubdomain(host) == "" {
			return host
		}
	}
	return m.Name + "." + m.Namespace + "." + domain
}

// tagHeaderOf says what Knative-Serving-Tag does at a Route. Unlike Knative's
// own, it names a tag unless that is switched off.
func (s settings) tagHeaderOf(shares []share) string {
	tags := slices.ContainsFunc(shares, func(p share) bool { return p.tag != "" })
	switch {
	case s.tagHeader == "disabled" && tags:
		return api.TagHeaderIgnored
	case s.tagHeader == "enabled", s.tagHeader != "disabled" && tags:
		return api.TagHeaderTold
	}
	return ""
}
