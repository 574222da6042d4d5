package knative

import (
	"strconv"
	"strings"
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
	domain     string        // of config-domain; "": the node's
	rollout    time.Duration // rollout-duration
	autoClaim  bool          // autocreate-cluster-domain-claims
	redirect   bool          // http-protocol
	deadline   time.Duration // progress-deadline
	unresolved []string      // registries-skipping-tag-resolving
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
	for domain, selector := range read("config-domain") {
		if selector = strings.TrimSpace(selector); selector == "" && !strings.HasPrefix(domain, "_") && domain != localDomain {
			s.domain = domain // one without a selector is everybody's
		}
	}
	deployment := read("config-deployment")
	if d, err := time.ParseDuration(deployment["progress-deadline"]); err == nil && d > 0 {
		s.deadline = d
	}
	if list, ok := deployment["registries-skipping-tag-resolving"]; ok {
		s.unresolved = strings.Split(strings.ReplaceAll(list, " ", ""), ",")
	}
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
