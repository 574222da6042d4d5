package binding

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// env resolves variables: envFrom in its order, then env, later ones winning.
// own names the container they are for, if there is one.
func (in reader) env(ctx context.Context, own string, env []api.EnvVar, from []api.EnvSource) (map[string]string, error) {
	out := make(map[string]string, len(env))
	for _, f := range from {
		ref, kind := f.SecretRef, "Secret"
		if ref == nil {
			ref, kind = f.ConfigMapRef, "ConfigMap"
		}
		if ref == nil {
			continue
		}
		data, ok, err := in.data(ctx, kind, ref.Name)
		if err != nil {
			return nil, err
		}
		if !ok && !ref.Optional {
			return nil, missing(kind, in.ns, ref.Name, "")
		}
		for k, v := range data {
			// As in Kubernetes, a key that is no variable's name is passed over.
			if name := f.Prefix + k; variable(name) && !strings.Contains(string(v), "\x00") {
				out[name] = string(v)
			}
		}
	}
	for _, e := range env {
		if e.ValueFrom == nil {
			out[e.Name] = e.Value
			continue
		}
		if e.ValueFrom.FieldRef != nil || e.ValueFrom.ResourceFieldRef != nil {
			var err error
			if out[e.Name], err = in.fact(e, own); err != nil {
				return nil, err
			}
			continue
		}
		ref, kind := e.ValueFrom.SecretKeyRef, "Secret"
		if ref == nil {
			ref, kind = e.ValueFrom.ConfigMapKeyRef, "ConfigMap"
		}
		if ref == nil {
			continue
		}
		data, ok, err := in.data(ctx, kind, ref.Name)
		if err != nil {
			return nil, err
		}
		v, has := data[ref.Key]
		switch {
		case has && strings.Contains(string(v), "\x00"):
			return nil, api.Errorf(api.CodeStartFailed, "key %q of %s %q cannot be an environment variable: it has a zero byte", ref.Key, kind, ref.Name).
				WithHint("show it as a file instead: spec.secrets or spec.config")
		case has:
			out[e.Name] = string(v)
		case ref.Optional:
		case !ok:
			return nil, missing(kind, in.ns, ref.Name, "")
		default:
			return nil, missing(kind, in.ns, ref.Name, ref.Key)
		}
	}
	return out, nil
}

// fact resolves a variable that shows a fact about its instance.
func (in reader) fact(e api.EnvVar, own string) (text string, err error) {
	f := e.ValueFrom.FieldRef
	switch {
	case in.facts == nil:
		return "", api.Errorf(api.CodeStartFailed, "variable %s: fieldRef and resourceFieldRef are for programs from images", e.Name).
			WithHint("functions find their names in HEARTH_FUNCTION, HEARTH_REVISION and HEARTH_NAMESPACE")
	case f == nil:
		return in.resource(e.ValueFrom.ResourceFieldRef, own)
	case f.InEnv() != "":
		return "", api.Errorf(api.CodeStartFailed, "variable %s: fieldPath %q is not known", e.Name, f.FieldPath).WithHint("%s", f.InEnv())
	}
	text, err = in.field(f)
	if _, key, _ := f.Key(); key != "" && strings.Contains(text, "\x00") {
		return "", api.Errorf(api.CodeStartFailed, "variable %s: %s has a zero byte", e.Name, f.FieldPath)
	}
	return text, err
}

func variable(name string) bool {
	for i, c := range name {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '.' && c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return name != ""
}

// files are secrets and config as files, in order of their paths.
func (in reader) files(ctx context.Context, secrets, config []string) ([]engine.File, error) {
	var out []engine.File
	for _, g := range []struct {
		kind, folder string
		names        []string
	}{{"Secret", "/secrets/", secrets}, {"ConfigMap", "/configs/", config}} {
		for _, name := range g.names {
			data, ok, err := in.data(ctx, g.kind, name)
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, missing(g.kind, in.ns, name, "")
			}
			for _, k := range slices.Sorted(maps.Keys(data)) {
				out = append(out, engine.File{Path: g.folder + in.ns + "/" + name + "/" + k, Data: data[k]})
			}
		}
	}
	return out, nil
}

// data reads all keys of a Secret or ConfigMap, not to be changed; false when
// there is no such object in the namespace.
func (in reader) data(ctx context.Context, kind, name string) (map[string][]byte, bool, error) {
	if kind == "Secret" {
		o, err := get[api.Secret](ctx, in, api.Secrets, name)
		if o == nil {
			return nil, false, err
		}
		return with(o.Data, o.StringData), true, nil // admission moves StringData; an import may not have
	}
	o, err := get[api.ConfigMap](ctx, in, api.ConfigMaps, name)
	if o == nil {
		return nil, false, err
	}
	return with(o.BinaryData, o.Data), true, nil
}

// with is data and text together, in a map of their own where that is needed.
func with(data map[string][]byte, text map[string]string) map[string][]byte {
	if len(text) == 0 {
		return data
	}
	all := make(map[string][]byte, len(data)+len(text))
	maps.Copy(all, data)
	for k, v := range text {
		all[k] = []byte(v)
	}
	return all
}
