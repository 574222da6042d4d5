package binding

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

const (
	// defaultPort is where a program serves unless its container says otherwise.
	defaultPort = 8080
	// containerProcesses bounds the processes and threads of a container that
	// names no limit: threaded servers have many more than functions.
	containerProcesses = 4096
)

// pod resolves the containers of a revision. Memory, processors and disk of a
// container without limits of its own are bounded by the revision's, and not at
// all where these are silent too, as in Kubernetes.
func (in reader) pod(ctx context.Context, revision string, s *api.RevisionSpec) (*engine.Pod, error) {
	serving, port := servingPort(s.Containers)
	p := &engine.Pod{
		Serving: serving, Port: port.ContainerPort, Protocol: api.ProtocolHTTP,
		Progress: s.StartTimeout.Or(0), Grace: s.Timeout.Duration,
	}
	if port.Name == api.PortH2C {
		p.Protocol = api.ProtocolH2C
	}
	var err error
	if p.Volumes, err = in.volumes(ctx, s.Volumes); err != nil {
		return nil, err
	}
	if p.Pull, err = in.pull(ctx, s.PullSecrets, s.ServiceAccount); err != nil {
		return nil, err
	}
	writable := map[string]bool{}
	for _, v := range p.Volumes {
		writable[v.Name] = v.Empty
	}
	for i, c := range s.Containers {
		own := 0
		if i == serving {
			own = p.Port
		}
		out, err := in.container(ctx, s, c, own, p.Port, writable)
		if err != nil {
			return nil, err
		}
		if s.Owner == "" { // else who compiled it knows better
			identify(out.Env, s.Function, revision)
		}
		p.Containers = append(p.Containers, out)
	}
	for _, c := range s.InitContainers {
		out, err := in.container(ctx, s, c, 0, p.Port, writable)
		if err != nil {
			return nil, err
		}
		p.Init = append(p.Init, out)
	}
	return p, nil
}

// identify adds the variables programs made for Knative look for.
func identify(env map[string]string, function, revision string) {
	for k, v := range map[string]string{"K_SERVICE": function, "K_CONFIGURATION": function, "K_REVISION": revision} {
		if _, own := env[k]; !own {
			env[k] = v
		}
	}
}

// servingPort finds the container with a port, the first where none has one.
func servingPort(cs []api.Container) (int, api.ContainerPort) {
	for i, c := range cs {
		if len(c.Ports) > 0 {
			p := c.Ports[0]
			p.ContainerPort = or(p.ContainerPort, defaultPort)
			return i, p
		}
	}
	return 0, api.ContainerPort{ContainerPort: defaultPort}
}

// container resolves c. own is the port it serves at, 0 if it is not the one
// that serves; main is the pod's.
func (in reader) container(ctx context.Context, s *api.RevisionSpec, c api.Container, own, main int, writable map[string]bool) (engine.Container, error) {
	out := engine.Container{Name: c.Name, Image: c.Image, Dir: c.WorkingDir, Limits: containerLimits(c.Resources, s.Limits)}
	var err error
	if out.Env, err = in.containerEnv(ctx, c, own); err != nil {
		return out, err
	}
	out.Command, out.Args = expandAll(c.Command, out.Env), expandAll(c.Args, out.Env)
	for _, m := range c.VolumeMounts {
		w, there := writable[m.Name]
		if !there {
			return out, api.Errorf(api.CodeStartFailed, "container %q mounts volume %q, which is not there", c.Name, m.Name).
				WithHint("add %q to the volumes, or remove the mount", m.Name)
		}
		out.Mounts = append(out.Mounts, engine.Mount{Volume: m.Name, Path: m.MountPath, SubPath: m.SubPath, Write: w && !m.ReadOnly})
	}
	secure(&out, c.SecurityContext)
	for _, p := range []struct {
		name   string
		in     *api.Probe
		out    **engine.Probe
		period time.Duration
	}{
		{"startup", c.StartupProbe, &out.Startup, 10 * time.Second},
		{"readiness", c.ReadinessProbe, &out.Readiness, 0},
		{"liveness", c.LivenessProbe, &out.Liveness, 10 * time.Second},
	} {
		if *p.out, err = probe(p.in, c, or(own, main), p.period); err != nil {
			return out, api.Errorf(api.CodeStartFailed, "%s probe of container %q: %v", p.name, c.Name, err).
				WithHint("a probe's port is a number, the name of the container's port, or left out for the port that serves")
		}
	}
	return out, nil
}

// containerEnv resolves a container's variables. As in Kubernetes, $(NAME) in a
// value stands for a variable set before it.
func (in reader) containerEnv(ctx context.Context, c api.Container, port int) (map[string]string, error) {
	env, err := in.env(ctx, c.Name, nil, c.EnvFrom)
	if err != nil {
		return nil, err
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = expand(e.Value, env)
			continue
		}
		one, err := in.env(ctx, c.Name, []api.EnvVar{e}, nil)
		if err != nil {
			return nil, err
		}
		maps.Copy(env, one)
	}
	if port > 0 {
		env["PORT"] = fmt.Sprint(port)
	}
	return env, nil
}

func containerLimits(r api.Resources, of api.Limits) engine.Limits {
	cpu, _ := or(r.Limits["cpu"], of.CPU).Milli() // admission refused malformed ones
	return engine.Limits{
		MemoryBytes: or(r.Limits["memory"], of.Memory).Bytes(0),
		CPUMilli:    cpu,
		Processes:   or(of.Processes, containerProcesses),
		DiskBytes:   or(r.Limits["ephemeral-storage"], of.Disk).Bytes(0),
	}
}

func secure(out *engine.Container, s *api.SecurityContext) {
	if s == nil {
		return
	}
	yes := func(b *bool) bool { return b != nil && *b }
	out.User, out.Group = s.RunAsUser, s.RunAsGroup
	out.NonRoot, out.ReadOnlyRoot = yes(s.RunAsNonRoot), yes(s.ReadOnlyRootFilesystem)
	if c := s.Capabilities; c != nil {
		out.AddCaps, out.DropCaps = c.Add, c.Drop
	}
}

// probe resolves p. Silence about the period means period.
func probe(p *api.Probe, c api.Container, main int, period time.Duration) (*engine.Probe, error) {
	if p == nil {
		return nil, nil
	}
	out := &engine.Probe{
		Delay: seconds(p.InitialDelaySeconds), Period: period, Timeout: seconds(p.TimeoutSeconds),
		Success: p.SuccessThreshold, Failure: p.FailureThreshold,
	}
	if p.PeriodSeconds != nil {
		out.Period = seconds(*p.PeriodSeconds)
	}
	if p.TerminationGracePeriodSeconds != nil {
		out.Grace = seconds(int(*p.TerminationGracePeriodSeconds))
	}
	switch {
	case p.HTTPGet != nil:
		h := p.HTTPGet
		port, err := probePort(h.Port, c, main)
		if err != nil {
			return nil, err
		}
		out.HTTP = &engine.HTTPProbe{Port: port, Path: or(h.Path, "/"), Host: h.Host, TLS: h.Scheme == "HTTPS"}
		for _, f := range h.HTTPHeaders {
			out.HTTP.Header = append(out.HTTP.Header, [2]string{f.Name, f.Value})
		}
	case p.TCPSocket != nil:
		port, err := probePort(p.TCPSocket.Port, c, main)
		if err != nil {
			return nil, err
		}
		out.TCP = &port
	case p.Exec != nil:
		out.Exec = p.Exec.Command
	case p.GRPC != nil:
		out.GRPC = &engine.GRPCProbe{Port: or(p.GRPC.Port, main)}
		if s := p.GRPC.Service; s != nil {
			out.GRPC.Service = *s
		}
	default:
		out.TCP = &main
	}
	return out, nil
}

func probePort(v api.IntOrName, c api.Container, main int) (int, error) {
	if v == "" || v == "0" {
		return main, nil
	}
	if n := v.Int(); n > 0 {
		return n, nil
	}
	for _, p := range c.Ports {
		if p.Name == string(v) {
			return or(p.ContainerPort, defaultPort), nil
		}
	}
	return 0, api.Errorf(api.CodeInvalid, "the container has no port named %q", string(v))
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
