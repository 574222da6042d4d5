package binding

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// fileMode is the mode of a volume's file unless something else is asked for.
const fileMode = 0o644

// volumes resolves what the containers of a revision share.
func (in reader) volumes(ctx context.Context, vs []api.Volume) ([]engine.Volume, error) {
	var out []engine.Volume
	for _, v := range vs {
		r := engine.Volume{Name: v.Name}
		var err error
		switch {
		case v.Secret != nil:
			s := v.Secret
			r.Files, err = in.projection(ctx, "Secret", api.Projection{Name: s.SecretName, Items: s.Items, Optional: s.Optional}, s.DefaultMode)
		case v.ConfigMap != nil:
			c := v.ConfigMap
			r.Files, err = in.projection(ctx, "ConfigMap", api.Projection{Name: c.Name, Items: c.Items, Optional: c.Optional}, c.DefaultMode)
		case v.Projected != nil:
			err = in.projected(ctx, v.Projected, &r)
		case v.EmptyDir != nil:
			r.Empty, r.Memory, r.Size = true, v.EmptyDir.Medium == "Memory", v.EmptyDir.SizeLimit.Bytes(0)
		default:
			r.Empty = true
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// projected joins the files of several sources; of two with one path the later
// source's is taken, and a token before all others.
func (in reader) projected(ctx context.Context, p *api.ProjectedVolume, v *engine.Volume) error {
	byPath := map[string]engine.VolumeFile{}
	add := func(files []engine.VolumeFile) {
		for _, f := range files {
			byPath[f.Path] = f
		}
	}
	var tokens []*api.ServiceAccountToken
	for _, s := range p.Sources {
		for _, one := range []struct {
			kind string
			p    *api.Projection
		}{{"Secret", s.Secret}, {"ConfigMap", s.ConfigMap}} {
			if one.p == nil {
				continue
			}
			files, err := in.projection(ctx, one.kind, *one.p, p.DefaultMode)
			if err != nil {
				return err
			}
			add(files)
		}
		if s.DownwardAPI != nil {
			files, err := in.downward(s.DownwardAPI, p.DefaultMode)
			if err != nil {
				return err
			}
			add(files)
		}
		if t := s.ServiceAccountToken; t != nil {
			if !inside(t.Path) {
				return outside(t.Path, "serviceAccountToken")
			}
			tokens = append(tokens, t)
		}
	}
	v.Files = make([]engine.VolumeFile, 0, len(byPath))
	for _, k := range slices.Sorted(maps.Keys(byPath)) {
		v.Files = append(v.Files, byPath[k])
	}
	if len(tokens) > 0 {
		v.Renew = in.tokens(tokens, p.DefaultMode)
	}
	return nil
}

// permissions are a file's own, or those of its volume.
func permissions(own, volume *int) uint32 {
	switch {
	case own != nil:
		return uint32(*own) & 0o777
	case volume != nil:
		return uint32(*volume) & 0o777
	}
	return fileMode
}

func outside(p, of string) error {
	return api.Errorf(api.CodeStartFailed, "path %q of %s does not stay inside the volume", p, of).
		WithHint("a path is relative and has no .., such as certs/tls.crt")
}

// projection shows an object's keys, or the items chosen of them, as files in
// order of their paths.
func (in reader) projection(ctx context.Context, kind string, p api.Projection, mode *int) ([]engine.VolumeFile, error) {
	optional := p.Optional != nil && *p.Optional
	data, ok, err := in.data(ctx, kind, p.Name)
	if err != nil {
		return nil, err
	}
	if !ok && !optional {
		return nil, missing(kind, in.ns, p.Name, "")
	}
	out := []engine.VolumeFile{}
	if len(p.Items) == 0 {
		for _, k := range slices.Sorted(maps.Keys(data)) {
			out = append(out, engine.VolumeFile{Path: k, Data: data[k], Mode: permissions(nil, mode)})
		}
		return out, nil
	}
	for _, i := range p.Items {
		v, has := data[i.Key]
		if !has {
			if optional {
				continue
			}
			return nil, missing(kind, in.ns, p.Name, i.Key)
		}
		if !inside(i.Path) {
			return nil, outside(i.Path, fmt.Sprintf("key %q of %s %q", i.Key, kind, p.Name))
		}
		out = append(out, engine.VolumeFile{Path: path.Clean(i.Path), Data: v, Mode: permissions(i.Mode, mode)})
	}
	slices.SortStableFunc(out, func(a, b engine.VolumeFile) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func inside(p string) bool {
	return p != "" && !strings.HasPrefix(p, "/") && !slices.Contains(strings.Split(p, "/"), "..") && path.Clean(p) != "."
}

// Types of Secrets that hold credentials of registries, and the key they are at.
const (
	typeDockerConfig = "kubernetes.io/dockerconfigjson"
	keyDockerConfig  = ".dockerconfigjson"
	typeDockerCfg    = "kubernetes.io/dockercfg"
	keyDockerCfg     = ".dockercfg"
)

// serviceAccount is what is read of a core/v1 ServiceAccount.
type serviceAccount struct {
	ImagePullSecrets []api.LocalRef `json:"imagePullSecrets"`
}

// Pull gives the documents with credentials a revision's images are pulled
// with. They are secret.
func (b *Binder) Pull(ctx context.Context, r *api.Revision) ([][]byte, error) {
	return reader{b: b, ns: r.Metadata.Namespace}.pull(ctx, r.Spec.PullSecrets, r.Spec.ServiceAccount)
}

// pull reads credentials for registries: those named, then the account's. A
// secret that is named must be there; one of the account's may be missing.
func (in reader) pull(ctx context.Context, named []api.LocalRef, account string) ([][]byte, error) {
	var out [][]byte
	for _, ref := range named {
		doc, err := in.dockerConfig(ctx, ref.Name)
		if err != nil {
			return nil, err
		}
		if doc == nil && !ref.Optional {
			return nil, api.Errorf(api.CodeStartFailed, "Secret %q, which is to pull the image, is not there", ref.Name).
				WithHint("kubectl create secret docker-registry %s -n %s --docker-server=HOST --docker-username=USER --docker-password=PASSWORD", ref.Name, in.ns)
		}
		if doc != nil {
			out = append(out, doc)
		}
	}
	sa, err := get[serviceAccount](ctx, in, "serviceaccounts", or(account, "default"))
	if sa == nil {
		return out, err
	}
	for _, ref := range sa.ImagePullSecrets {
		doc, err := in.dockerConfig(ctx, ref.Name)
		if err != nil && !api.IsCode(err, api.CodeStartFailed) {
			return nil, err
		}
		if doc != nil {
			out = append(out, doc)
		}
	}
	return out, nil
}

// dockerConfig reads one Secret as a docker configuration; nil when there is no
// such Secret.
func (in reader) dockerConfig(ctx context.Context, name string) ([]byte, error) {
	data, ok, err := in.data(ctx, "Secret", name)
	if !ok || err != nil {
		return nil, err
	}
	if doc := data[keyDockerConfig]; doc != nil {
		return doc, nil
	}
	if old := data[keyDockerCfg]; old != nil {
		return fmt.Appendf(nil, `{"auths":%s}`, old), nil // the older form is the inside of the newer
	}
	return nil, api.Errorf(api.CodeStartFailed, "Secret %q, which is to pull the image, has neither key %s nor %s", name, keyDockerConfig, keyDockerCfg).
		WithHint("its type is %s or %s; kubectl create secret docker-registry makes one", typeDockerConfig, typeDockerCfg)
}
