package knative

import (
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// ReadSettings reads the settings of a store, whose newest records get finds. A
// ConfigMap with a fault counts for nothing.
func ReadSettings(get func(store.Key) (store.Record, bool)) Settings {
	return readSettings(func(name string) map[string]string {
		r, there := get(store.Key{Resource: api.ConfigMaps, Namespace: settingsNamespace, Name: name})
		if !there {
			return nil
		}
		if c := decode[api.ConfigMap](r); c != nil {
			return c.Data
		}
		return nil
	})
}

// settings are those of v. Every step asks for them, and they hardly ever change.
func (d *Dialect) settings(v View) Settings {
	var read [8]int64
	for i, name := range configs() {
		r, _ := v.Get(store.Key{Resource: api.ConfigMaps, Namespace: settingsNamespace, Name: name}) // revision 0: there is none
		read[i] = r.Revision
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.set == nil || d.read != read {
		s := ReadSettings(v.Get)
		d.read, d.set = read, &s
	}
	return *d.set
}

// domain ends the hosts of Routes with certain labels.
type domain struct {
	name   string
	labels map[string]string
}

// takeDomains reads config-domain: by domain a selector of labels, or nothing
// for everybody's. Longer selectors come first.
func (s *Settings) takeDomains(f *faults, data map[string]string) {
	s.domains = nil
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if strings.HasPrefix(name, "_") { // the example
			continue
		}
		if api.CheckSubdomain(name) != "" {
			f.invalid(name, "data."+name, "a domain, such as example.com")
			continue
		}
		var d struct {
			Selector map[string]string `json:"selector"`
			Type     string            `json:"type"`
		}
		if err := yaml.Unmarshal([]byte(data[name]), &d); err != nil {
			f.invalid("no selector of labels", "data."+name, "nothing for everybody's Routes, or labels, such as \"selector:\\n  app: shop\"")
			continue
		}
		if name != localDomain || len(d.Selector) > 0 {
			s.domains = append(s.domains, domain{name, d.Selector})
		}
	}
	slices.SortStableFunc(s.domains, func(a, b domain) int { return len(b.labels) - len(a.labels) })
}

// domainOf is the domain of a Route; "" where the node's own holds.
func (s Settings) domainOf(labels map[string]string) string {
next:
	for _, d := range s.domains {
		for k, v := range d.labels {
			if got, there := labels[k]; !there || got != v {
				continue next
			}
		}
		return d.name
	}
	return ""
}

// tagName is the name under which a tag of a Route answers, as tag-template says;
// the Route's own where tag is empty.
func (s Settings) tagName(tag, name string) string {
	if tag == "" {
		return name
	}
	if s.tag != nil {
		if n := render(s.tag, map[string]any{"Name": name, "Tag": tag}); no1035(n) == "" {
			return n
		}
	}
	return tag + "-" + name
}

// hostOf is the host of a name (a Route's, or one of its tags') as domain-template
// says.
func (s Settings) hostOf(m *api.Meta, name, domain string) string {
	if s.host != nil {
		host := render(s.host, map[string]any{"Name": name, "Namespace": m.Namespace, "Domain": domain, "Annotations": m.Annotations, "Labels": m.Labels})
		if api.CheckSubdomain(host) == "" {
			return host
		}
	}
	return name + "." + m.Namespace + "." + domain
}

// rolloutDuration is how long a new revision takes to get its share.
func (s Settings) rolloutDuration(annotations map[string]string) time.Duration {
	_, v, _ := annotation(annotations, AnnotationRolloutDuration, GroupServing+"/rolloutDuration")
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		return d
	}
	return s.rollout
}

// tagHeaderOf says what Knative-Serving-Tag does at a Route. Unlike Knative's
// own, it names a tag unless that is switched off.
func (s Settings) tagHeaderOf(shares []share) string {
	tags := slices.ContainsFunc(shares, func(p share) bool { return p.tag != "" })
	switch {
	case s.tagHeader == "disabled" && tags:
		return api.TagHeaderIgnored
	case s.tagHeader == "enabled", s.tagHeader != "disabled" && tags:
		return api.TagHeaderTold
	}
	return ""
}
