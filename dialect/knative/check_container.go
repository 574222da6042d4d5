package knative

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/hearth-run/hearth/api"
)

// role is what a container is for; the rules differ.
type role int

const (
	roleServing role = iota
	roleSidecar
	roleInit
)

const containersExample = "such as [{image: registry.example.com/hello:1.0}]"

// containers checks all containers of a revision.
func (c *checker) containers(at string, p PodSpec, volumes map[string]api.Volume) {
	if n := len(p.InitContainers); n > 0 && !c.on(InitContainers) {
		c.add(fmt.Sprintf("pod spec support for init-containers is off, but found %d init containers", n), off(InitContainers), at+".initContainers")
	}
	if n := len(p.Containers); n > 1 && !c.on(MultiContainer) {
		c.add(fmt.Sprintf("multi-container is off, but found %d containers", n), off(MultiContainer), at+".containers")
	}
	seen := map[string]bool{}
	twice := func(path, name string) {
		if name != "" && seen[name] {
			c.add(fmt.Sprintf("duplicate container name %q", name), "give each container a name of its own", path+".name")
		}
		seen[name] = true
	}
	port := c.servingPort(at, p.Containers)
	if len(p.Containers) == 0 {
		c.missing(containersExample, at+".containers")
	}
	for i, x := range p.Containers {
		path := fmt.Sprintf("%s.containers[%d]", at, i)
		twice(path, x.Name)
		if len(p.Containers) == 1 || len(x.Ports) > 0 {
			c.container(path, x, roleServing, port, volumes)
		} else {
			c.container(path, x, roleSidecar, port, volumes)
		}
	}
	for i, x := range p.InitContainers {
		path := fmt.Sprintf("%s.initContainers[%d]", at, i)
		twice(path, x.Name)
		c.container(path, x, roleInit, port, volumes)
	}
}

// servingPort finds the one port of a revision.
func (c *checker) servingPort(at string, list []api.Container) api.ContainerPort {
	var port api.ContainerPort
	n := 0
	for _, x := range list {
		if len(x.Ports) > 0 {
			n, port = n+len(x.Ports), x.Ports[0]
		}
	}
	const hint = "one container has one port: ports: [{containerPort: 8080}]"
	switch {
	case n == 0 && len(list) > 1:
		c.missing("say which of the containers serves: "+hint, at+".containers[*].ports")
	case n > 1:
		c.add("more than one container port is set", hint, at+".containers[*].ports")
		c.errors[len(c.errors)-1].details = "Only a single port is allowed across all containers"
	}
	if port.Name == "" {
		port.Name = "http"
	}
	return port
}

func (c *checker) container(at string, x api.Container, r role, port api.ContainerPort, volumes map[string]api.Volume) {
	if reflect.DeepEqual(x, api.Container{}) {
		c.missing(containersExample, at)
		return
	}
	if x.Name == "queue-proxy" {
		c.add(`"queue-proxy" is a reserved container name`, "another name, or none", at+".name")
	} else if x.Name != "" && api.CheckName(x.Name) != "" {
		c.invalid(x.Name, at+".name", "lower-case letters, digits and hyphens, such as user-container")
	}
	c.env(at, x, r)
	switch {
	case x.Image == "":
		c.missing("such as image: registry.example.com/hello:1.0", at+".image")
	default:
		if _, err := name.ParseReference(x.Image, name.WeakValidation); err != nil {
			c.add("Failed to parse image reference", "such as registry.example.com/hello:1.0 or hello@sha256:…", at+".image")
			c.errors[len(c.errors)-1].details = fmt.Sprintf("image: %q, error: %v", x.Image, err)
		}
	}
	c.ports(at, x.Ports, r)
	c.resources(at, x.Resources)
	c.security(at+".securityContext", x.SecurityContext)
	c.mounts(at, x.VolumeMounts, volumes)
	c.probes(at, x, r, port)
}

func (c *checker) env(at string, x api.Container, r role) {
	reserved := []string{"K_SERVICE", "K_CONFIGURATION", "K_REVISION"}
	if r == roleServing {
		reserved = append(reserved, "PORT")
	}
	for i, e := range x.Env {
		p := fmt.Sprintf("%s.env[%d]", at, i)
		switch {
		case e.Name == "":
			c.missing("such as {name: GREETING, value: hello}", p+".name")
		case slices.Contains(reserved, e.Name):
			c.add(fmt.Sprintf("%q is a reserved environment variable", e.Name), "another name; the program gets it anyway", p+".name")
		case strings.ContainsAny(e.Name, "=\x00"):
			c.invalid(e.Name, p+".name", "letters, digits and underscores, such as GREETING")
		}
		if e.ValueFrom == nil {
			continue
		}
		var got []string
		if e.ValueFrom.SecretKeyRef != nil {
			got = append(got, "secretKeyRef")
		}
		if e.ValueFrom.ConfigMapKeyRef != nil {
			got = append(got, "configMapKeyRef")
		}
		if c.fieldRefs(p+".valueFrom", e.ValueFrom.FieldRef, e.ValueFrom.ResourceFieldRef) {
			got = append(got, "fieldRef")
		}
		c.exactlyOne(p+".valueFrom", got, []string{"configMapKeyRef", "secretKeyRef"}, "such as {secretKeyRef: {name: db, key: password}}")
		if e.Value != "" {
			c.exactlyOne(p, []string{"value", "valueFrom"}, nil, "a value or where to read it from")
		}
	}
	for i, e := range x.EnvFrom {
		var got []string
		if e.ConfigMapRef != nil {
			got = append(got, "configMapRef")
		}
		if e.SecretRef != nil {
			got = append(got, "secretRef")
		}
		c.exactlyOne(fmt.Sprintf("%s.envFrom[%d]", at, i), got, []string{"configMapRef", "secretRef"}, "such as {secretRef: {name: db}}")
	}
}

// fieldRefs checks facts about the instance in a variable and reports whether there
// are any.
func (c *checker) fieldRefs(at string, f *api.FieldRef, r *api.ResourceFieldRef) bool {
	for _, x := range []struct {
		field string
		given bool
	}{{"fieldRef", f != nil}, {"resourceFieldRef", r != nil}} {
		if x.given && !c.on(FieldRef) {
			c.disallowed(off(FieldRef)+"; the program finds its names in K_SERVICE and K_REVISION", at+"."+x.field)
		}
	}
	c.fieldPath(at+".fieldRef", f)
	return f != nil || r != nil
}

func (c *checker) fieldPath(at string, f *api.FieldRef) {
	if f == nil {
		return
	}
	if _, _, ok := f.Key(); !ok {
		c.invalid(f.FieldPath, at+".fieldPath", "such as metadata.name, metadata.labels['app'] or status.podIP")
	}
}

func (c *checker) ports(at string, ports []api.ContainerPort, r role) {
	for i, p := range ports {
		if i > 0 && r != roleInit {
			return // there is one too many, which is said elsewhere
		}
		path := at + ".ports"
		if r == roleInit {
			path = fmt.Sprintf("%s[%d]", path, i)
		}
		switch p.ContainerPort {
		case 8008, 8012, 8013, 8022, 9090, 9091:
			c.invalid(fmt.Sprintf("%d is a reserved port", p.ContainerPort), path+".containerPort", "another one, such as 8080",
				fmt.Sprintf("%d is a reserved port, please use a different value", p.ContainerPort))
		}
		if p.ContainerPort < 0 || p.ContainerPort > 65535 {
			c.outside(p.ContainerPort, 0, 65535, path+".containerPort", "such as 8080")
		}
		if r != roleInit && p.Name != "" && p.Name != api.PortHTTP1 && p.Name != api.PortH2C {
			c.add(fmt.Sprintf("Port name %v is not allowed", p.Name), "h2c for gRPC and other HTTP/2 without TLS, else http1 or none", path)
			c.errors[len(c.errors)-1].details = "Name must be empty, or one of: 'h2c', 'http1'"
		}
	}
}

// resources checks that no request is over its limit, as Kubernetes does.
func (c *checker) resources(at string, r api.Resources) {
	for _, k := range slices.Sorted(maps.Keys(r.Requests)) {
		limit, ok := r.Limits[k]
		have, err := r.Requests[k].Milli()
		most, err2 := limit.Milli()
		if ok && err == nil && err2 == nil && have > most {
			c.invalid(string(r.Requests[k]), at+".resources.requests", "not more than the limit", "must be less than or equal to "+k+" limit of "+string(limit))
		}
	}
}

func (c *checker) security(at string, s *api.SecurityContext) {
	if s == nil {
		return
	}
	c.id(at+".runAsUser", s.RunAsUser)
	c.id(at+".runAsGroup", s.RunAsGroup)
	if s.Privileged != nil && *s.Privileged {
		c.disallowed("false, or leave it out", at+".privileged")
	}
	if k := s.Capabilities; k != nil {
		bindOnly := c.securePods != "" && c.securePods != "disabled" && slices.Equal(k.Add, []string{"NET_BIND_SERVICE"}) // its own default
		if len(k.Add) > 0 && !c.on(AddCapabilities) && !bindOnly {
			c.disallowed(off(AddCapabilities), at+".capabilities.add")
		}
		if len(k.Drop) > 0 && k.Drop[0] == "all" {
			c.warn("invalid value: all", at+".capabilities.drop")
			c.warnings[len(c.warnings)-1].details = "Must be spelled as 'ALL'"
		}
	}
}
