package binding

import (
	"context"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// fissionPort is what Fission's environments listen on.
const fissionPort = 8888

// resolved is a runtime with its network, which belongs to the instance.
type resolved struct {
	engine.Runtime
	network string
}

// runtime resolves a name: the Runtime of the namespace, else a built-in.
func (in reader) runtime(ctx context.Context, name string) (resolved, error) {
	if name == "" {
		return resolved{}, nil // Check before a build has found it
	}
	obj, err := get[api.Runtime](ctx, in, api.Runtimes, name)
	if err != nil {
		return resolved{}, err
	}
	protocol := builtIn(name)
	if obj == nil && protocol == "" {
		return resolved{}, noRuntime(in.ns, name)
	}
	if obj == nil {
		return resolved{Runtime: engine.Runtime{Name: name, Shared: true, Base: name, Protocol: protocol, PoolSize: -1}}, nil
	}
	s := obj.Spec
	rt := engine.Runtime{
		Name: name, Base: s.Base, Protocol: or(s.Protocol, builtIn(s.Base)), Command: s.Command, Folder: s.Folder, Port: s.Port,
		PoolSize: -1, StartTime: s.StartTimeout.Or(0),
	}
	if rt.Base == "" && builtIn(name) != "" && len(s.Command) == 0 {
		rt.Base, rt.Protocol = name, or(s.Protocol, protocol)
	}
	if rt.Port == 0 && strings.HasPrefix(rt.Protocol, "fission/") {
		rt.Port = fissionPort
	}
	if p := s.Pool; p != nil {
		if p.Size != nil {
			rt.PoolSize = *p.Size
		}
		if p.Max != nil {
			rt.PoolMax = *p.Max
		}
	}
	if rt.Env, err = in.env(ctx, "", s.Env, nil); err != nil {
		return resolved{}, err
	}
	return resolved{Runtime: rt, network: s.Network}, nil
}

// builtIn is the protocol of a built-in runtime, or "" for other names.
func builtIn(name string) string {
	switch name {
	case api.RuntimeNode, api.RuntimePython:
		return api.ProtocolHearth
	case api.RuntimeGo, api.RuntimeCommand, api.RuntimeStatic:
		return api.ProtocolHTTP
	}
	return ""
}

func noRuntime(ns, name string) error {
	names := []string{api.RuntimeNode, api.RuntimePython, api.RuntimeGo, api.RuntimeCommand, api.RuntimeStatic}
	hint := "hearth get runtimes -n " + ns + " lists those of the namespace; built in are " + strings.Join(names, ", ")
	if near := api.Nearest(name, names); near != "" && !slices.Contains(names, name) {
		hint = "did you mean " + near + "? " + hint
	}
	return api.Errorf(api.CodeNoRuntime, "runtime %q is not there", name).WithHint("%s", hint)
}

// network is the instance's network: the function's wish, or the runtime's, or
// "" where neither says and the engine knows best.
func network(wish string, rt resolved) string { return or(wish, rt.network) }
