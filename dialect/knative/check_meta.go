package knative

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// names checks the name of an object.
func (c *checker) names(m api.Meta) {
	if m.GenerateName != "" {
		if why := noPrefix1035(m.GenerateName); why != "" {
			c.add("not a DNS 1035 label prefix: "+why, "such as hello-", "metadata.generateName")
			return
		}
	}
	switch why := no1035(m.Name); {
	case m.Name != "" && why != "":
		c.add("not a DNS 1035 label: "+why, "at most 63 lower-case letters, digits and hyphens, beginning with a letter, such as hello", "metadata.name")
	case m.Name == "" && m.GenerateName == "":
		c.add("name or generateName is required", "such as name: hello", "metadata.name")
	}
}

// metadata checks that of everything but revisions, where annotations of the
// autoscaler would have no effect.
func (c *checker) metadata(m api.Meta) {
	c.names(m)
	for _, k := range slices.Sorted(maps.Keys(m.Annotations)) {
		if strings.HasPrefix(k, strings.TrimSuffix(Autoscaling, "/")) {
			c.add(fmt.Sprintf("invalid key name %q", k), "move it to spec.template.metadata.annotations", "metadata.annotations")
			c.errors[len(c.errors)-1].details = `autoscaling annotations must be put under "spec.template.metadata.annotations" to work`
		}
	}
}

// annotation reads an annotation under its name or an older one; key is the one
// it was found under.
func annotation(m map[string]string, names ...string) (key, value string, ok bool) {
	for _, n := range names {
		if v, ok := m[n]; ok {
			return n, v, true
		}
	}
	return names[0], "", false
}

// seconds checks an annotation that is a length of time in whole seconds; word
// is what messages call it.
func (c *checker) seconds(at, word string, m map[string]string, names ...string) {
	k, v, _ := annotation(m, names...)
	if v == "" {
		return
	}
	path, hint := at+"."+k, "whole seconds of 0 or more, such as "+word+": 120s"
	d, err := time.ParseDuration(v)
	switch {
	case err != nil:
		c.invalid(v, path, hint)
	case d.Round(time.Second) != d:
		c.add(fmt.Sprintf("%s=%s is not at second precision", word, v), hint, path)
	case d < 0:
		c.add(fmt.Sprintf("%s=%s must be positive", word, v), hint, path)
	}
}

func (c *checker) rollout(m map[string]string) {
	c.seconds("metadata.annotations", "rollout-duration", m, AnnotationRolloutDuration, GroupServing+"/rolloutDuration")
	judgedSpec(m, c.rolloutDuration(m), &c.faults)
}

// template checks what revisions are stamped from; parent is the metadata of the
// object it stands in.
func (c *checker) template(at string, parent api.Meta, t Template) {
	notes := at + ".metadata.annotations"
	for _, k := range slices.Sorted(maps.Keys(t.Metadata.Annotations)) {
		if strings.HasPrefix(k, rolloutPrefix) {
			c.add(fmt.Sprintf("invalid key name %q", k), "move it to metadata.annotations: it is about the Service, not about one revision", notes)
		}
	}
	c.revision(at+".spec", t.Spec)
	c.autoscaling(notes, t.Metadata.Annotations)
	c.networking(notes, t.Metadata.Annotations)
	c.revisionName(at+".metadata", parent, t.Metadata)
	c.sidecar(notes, t.Metadata.Annotations)
	c.seconds(notes, "progress-deadline", t.Metadata.Annotations, AnnotationProgressDeadline, GroupServing+"/progressDeadline")
}

// revisionName checks a name people give to the next revision.
func (c *checker) revisionName(at string, parent, m api.Meta) {
	if m.GenerateName != "" {
		if why := noPrefix1035(m.GenerateName); why != "" {
			c.invalid("not a DNS 1035 label prefix: "+why, at+".generateName", "such as hello-")
			return
		}
	}
	if m.Name == "" {
		return
	}
	hint := "such as " + parent.Name + "-v2, or leave it out"
	switch why := no1035(m.Name); {
	case why != "":
		c.invalid("not a DNS 1035 label: "+why, at+".name", hint)
	case parent.Name == "" && parent.GenerateName != "":
		c.disallowed("leave it out; the object around has generateName, and so no prefix to begin with", at+".name")
	case !strings.HasPrefix(m.Name, parent.Name+"-"):
		c.invalid(fmt.Sprintf("%q must have prefix %q", m.Name, parent.Name+"-"), at+".name", hint)
	}
}

// networking checks annotations about how requests come in.
func (c *checker) networking(at string, m map[string]string) {
	if k, v, ok := disableTLS(m); ok {
		if l := strings.ToLower(v); v != "" && l != "true" && l != "false" {
			c.invalid(v, at+"."+k, `"true" or "false"`)
		}
	}
	if k, v, ok := httpProtocol(m); ok && v != "" {
		if l := strings.ToLower(v); l != "enabled" && l != "redirected" {
			c.invalid(v, at+"."+k, "Enabled, or Redirected to send plain HTTP to HTTPS")
		}
	}
}

func disableTLS(m map[string]string) (key, value string, ok bool) {
	return annotation(m, "networking.knative.dev/disable-external-domain-tls", "networking.knative.dev/disableAutoTLS", "networking.knative.dev/disable-auto-tls")
}

func httpProtocol(m map[string]string) (key, value string, ok bool) {
	return annotation(m, AnnotationHTTPProtocol, "networking.knative.dev/httpProtocol", "networking.knative.dev/http-option")
}

// sidecar checks annotations about the proxy Knative puts beside a container.
// Hearth has none; they are accepted and have no effect.
func (c *checker) sidecar(at string, m map[string]string) {
	const prefix = "queue.sidecar." + GroupServing + "/"
	for _, k := range slices.Sorted(maps.Keys(m)) {
		rest, ok := strings.CutPrefix(k, prefix)
		if !ok {
			continue
		}
		path := at + "[" + k + "]"
		switch rest {
		case "cpu-resource-request", "cpu-resource-limit", "memory-resource-request", "memory-resource-limit", "ephemeral-storage-resource-request", "ephemeral-storage-resource-limit":
			if _, err := api.Quantity(m[k]).Milli(); err != nil || m[k] == "" {
				c.invalid(m[k], path, "a quantity, such as 100m or 64Mi")
				continue
			}
			c.warn("Hearth has no proxy beside the container; the annotation has no effect", path)
		}
	}
}
