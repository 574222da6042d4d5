package knative

import (
	"math"

	"github.com/hearth-run/hearth/api"
)

const probeExample = "such as {httpGet: {path: /healthz}}"

// probes checks the three probes of a container.
func (c *checker) probes(at string, x api.Container, r role, port api.ContainerPort) {
	for _, p := range []struct {
		field string
		probe *api.Probe
	}{{"livenessProbe", x.LivenessProbe}, {"readinessProbe", x.ReadinessProbe}, {"startupProbe", x.StartupProbe}} {
		path := at + "." + p.field
		switch {
		case p.probe == nil:
		case r == roleInit:
			c.add("field not allowed in an init container", "leave it out; an init container runs to its end", path)
		case r == roleSidecar && !c.on(SidecarProbes):
			c.disallowed(off(SidecarProbes), path)
		default:
			c.probe(path, *p.probe, r, port)
			if p.field == "readinessProbe" {
				c.readiness(path, *p.probe)
			}
		}
	}
}

func (c *checker) probe(at string, p api.Probe, r role, port api.ContainerPort) {
	var got []string
	if p.HTTPGet != nil {
		got = append(got, "httpGet")
		c.probePort(at+".httpGet.port", p.HTTPGet.Port, r, port)
	}
	if p.TCPSocket != nil {
		got = append(got, "tcpSocket")
		c.probePort(at+".tcpSocket.port", p.TCPSocket.Port, r, port)
	}
	if p.Exec != nil {
		got = append(got, "exec")
	}
	if p.GRPC != nil {
		got = append(got, "grpc")
	}
	c.exactlyOne(at, got, []string{"httpGet", "tcpSocket", "exec", "grpc"}, probeExample)
}

func (c *checker) probePort(at string, v api.IntOrName, r role, port api.ContainerPort) {
	number := v == "" || v == "0" || v.Int() != 0
	switch {
	case r == roleServing && !number && string(v) != port.Name:
		c.invalid(v, at, "leave it out for the container's port, or write its number or its name", "Probe port must match container port")
	case r == roleSidecar && (v == "" || v == "0"):
		c.invalid("0", at, "the port the container listens on, such as 9000", "Probe port must be specified")
	}
	if n := v.Int(); n < 0 || n > 65535 {
		c.outside(n, 0, 65535, at, "such as 8080")
	}
}

// readiness checks what holds for readiness only: a period of 0 means to ask as
// often as is useful.
func (c *checker) readiness(at string, p api.Probe) {
	if p.SuccessThreshold < 1 {
		c.outside(p.SuccessThreshold, 1, math.MaxInt32, at+".successThreshold", "1 or more")
	}
	if p.PeriodSeconds == nil || *p.PeriodSeconds == 0 {
		const hint = "leave it out, or set periodSeconds, such as 10"
		if p.FailureThreshold != 0 {
			c.add("failureThreshold is disallowed when periodSeconds is zero", hint, at+".failureThreshold")
		}
		if p.TimeoutSeconds != 0 {
			c.add("timeoutSeconds is disallowed when periodSeconds is zero", hint, at+".timeoutSeconds")
		}
		return
	}
	if p.TimeoutSeconds < 1 {
		c.outside(p.TimeoutSeconds, 1, math.MaxInt32, at+".timeoutSeconds", "1 or more")
	}
	if p.FailureThreshold < 1 {
		c.outside(p.FailureThreshold, 1, math.MaxInt32, at+".failureThreshold", "1 or more")
	}
}
