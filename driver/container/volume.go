package container

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox"
)

// makeVolumes makes the pod's volumes, and those of the files every instance
// may have.
func (i *instance) makeVolumes(ctx context.Context) error {
	add := func(name string, c sandbox.VolumeConfig) error {
		v, err := i.shared.Volume(c)
		if err != nil {
			return err
		}
		i.volumes[name] = v
		return nil
	}
	for n := range i.spec.Pod.Volumes {
		v := &i.spec.Pod.Volumes[n]
		c := sandbox.VolumeConfig{Memory: v.Memory, Size: v.Size}
		var again time.Time
		if !v.Empty {
			c.Files = i.late(v.Files)
			if v.Renew != nil {
				more, when, err := v.Renew(ctx)
				if err != nil {
					return err
				}
				c.Files, again = append(c.Files, i.late(more)...), when
			}
		}
		if err := add(v.Name, c); err != nil {
			return err
		}
		if !again.IsZero() {
			i.renewals = append(i.renewals, renewal{v, again})
		}
	}
	tops := map[string][]engine.VolumeFile{}
	for _, f := range i.spec.Files {
		top, rest, ok := strings.Cut(strings.TrimPrefix(f.Path, "/"), "/")
		if !ok {
			return api.Errorf(api.CodeInvalid, "file %s is in no folder", f.Path)
		}
		tops["/"+top] = append(tops["/"+top], engine.VolumeFile{Path: rest, Data: f.Data})
	}
	for top, files := range tops {
		if err := add(top, sandbox.VolumeConfig{Files: files}); err != nil {
			return err
		}
		i.extra = append(i.extra, engine.Mount{Volume: top, Path: top})
	}
	slices.SortFunc(i.extra, func(a, b engine.Mount) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// mounts resolves the mounts of c.
func (i *instance) mounts(c *engine.Container, r role) ([]sandbox.Mount, error) {
	list := c.Mounts
	if r == serving {
		list = slices.Concat(i.extra, list)
	}
	var out []sandbox.Mount
	for _, m := range list {
		v := i.volumes[m.Volume]
		if v == nil {
			return nil, api.Errorf(api.CodeInvalid, "container %s mounts volume %q, which the revision does not have", c.Name, m.Volume)
		}
		out = append(out, sandbox.Mount{Volume: v, Path: m.Path, SubPath: m.SubPath, Write: m.Write})
	}
	return out, nil
}

// late is a copy of files, never nil, with facts in place of stand-ins.
func (i *instance) late(files []engine.VolumeFile) []engine.VolumeFile {
	out := slices.Clone(files)
	for n := range out {
		if out[n].Late {
			out[n].Data = []byte(i.filled(string(out[n].Data)))
		}
	}
	if out == nil {
		out = []engine.VolumeFile{} // a secret without keys
	}
	return out
}

// renewal is when files of a volume are made anew.
type renewal struct {
	v  *engine.Volume
	at time.Time
}

// renewPause is the time until another try.
const renewPause = 10 * time.Second

// renew makes the files of a volume anew, each time before they are too old.
func (i *instance) renew(ctx context.Context, r renewal) {
	for !r.at.IsZero() && pause(ctx, time.Until(r.at)) {
		files, again, err := r.v.Renew(ctx)
		if err == nil {
			err = i.volumes[r.v.Name].Replace(i.late(files))
		}
		if r.at = again; err != nil {
			if ctx.Err() == nil {
				i.engine.log.Warn("cannot renew the files of a volume", "instance", i.id, "volume", r.v.Name, "err", err)
			}
			r.at = time.Now().Add(renewPause)
		}
	}
}
