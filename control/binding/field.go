package binding

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// facts are what fields of a container may refer to.
type facts struct {
	r *api.Revision
}

// account is the service account of the revision.
func (f *facts) account() string { return or(f.r.Spec.ServiceAccount, "default") }

// field is the text a reference stands for, with stand-ins for what only the
// engine knows.
func (in reader) field(ref *api.FieldRef) (string, error) {
	m := &in.facts.r.Metadata
	field, key, ok := ref.Key()
	if !ok {
		return "", api.Errorf(api.CodeStartFailed, "fieldPath %q is not known", ref.FieldPath).WithHint("%s", or(ref.InEnv(), ref.InVolume()))
	}
	switch field {
	case "metadata.name":
		return engine.StandInName, nil
	case "metadata.uid":
		return engine.StandInUID, nil
	case "metadata.namespace":
		return in.ns, nil
	case "metadata.labels":
		return of(m.Labels, key), nil
	case "metadata.annotations":
		return of(m.Annotations, key), nil
	case "spec.nodeName":
		return engine.StandInHostName, nil
	case "spec.serviceAccountName":
		return in.facts.account(), nil
	case "status.hostIP", "status.hostIPs":
		return engine.StandInHostIP, nil
	}
	return engine.StandInIP, nil
}

// of is one of m, or where no key is given all of it, a line for each.
func of(m map[string]string, key string) string {
	if key != "" {
		return m[key]
	}
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}

// resource is the number a reference to a limit or a request of a container
// stands for. A limit nobody set is what the machine has, a request the limit,
// or 0.
func (in reader) resource(ref *api.ResourceFieldRef, own string) (string, error) {
	s := &in.facts.r.Spec
	name := or(ref.ContainerName, own)
	all := slices.Concat(s.Containers, s.InitContainers)
	i := slices.IndexFunc(all, func(c api.Container) bool { return c.Name == name })
	if i < 0 && len(all) > 0 {
		return "", api.Errorf(api.CodeStartFailed, "resourceFieldRef names container %q, which is not there", name)
	}
	var r api.Resources
	if i >= 0 {
		r = all[i].Resources
	}
	kind, what, _ := strings.Cut(ref.Resource, ".")
	machine, general := in.b.o.Machine.MemoryBytes, s.Limits.Memory
	switch what {
	case "cpu":
		machine, general = in.b.o.Machine.CPUMilli, s.Limits.CPU
	case "ephemeral-storage":
		machine, general = in.b.o.Machine.DiskBytes, s.Limits.Disk
	case "memory":
	default:
		return "", api.Errorf(api.CodeStartFailed, "resource %q is not known", ref.Resource).WithHint("limits or requests of cpu, memory or ephemeral-storage, such as limits.memory")
	}
	if what != "cpu" {
		machine *= 1000
	}
	value, limited := machine, or(r.Limits[what], general)
	if kind == "requests" {
		value, limited = 0, or(r.Requests[what], limited)
	}
	if limited != "" {
		value, _ = limited.Milli() // admission refused malformed ones
	}
	unit, _ := ref.Divisor.Milli()
	unit = or(unit, 1000)
	return fmt.Sprint((value + unit - 1) / unit), nil
}

// downward shows facts as files.
func (in reader) downward(d *api.DownwardAPI, mode *int) (out []engine.VolumeFile, err error) {
	for _, i := range d.Items {
		if !inside(i.Path) {
			return nil, outside(i.Path, "downwardAPI")
		}
		text := ""
		switch {
		case i.ResourceFieldRef != nil:
			text, err = in.resource(i.ResourceFieldRef, "")
		case i.FieldRef != nil && i.FieldRef.InVolume() != "":
			return nil, api.Errorf(api.CodeStartFailed, "fieldPath %q is not known in a volume", i.FieldRef.FieldPath).WithHint("%s", i.FieldRef.InVolume())
		case i.FieldRef != nil:
			text, err = in.field(i.FieldRef)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, engine.VolumeFile{Path: path.Clean(i.Path), Data: []byte(text), Mode: permissions(i.Mode, mode), Late: strings.Contains(text, "\x00")})
	}
	return out, nil
}
