package reconcile

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// revision finds the revision with exactly what was built, or makes it.
func (a *attempt) revision(ctx context.Context) (rev *api.Revision, made bool, err error) {
	spec := revisionSpec(a.f, a.built)
	highest := a.f.Status.RevisionCount
	for _, i := range a.r.index.revisionsOf(a.k) {
		highest = max(highest, i.number)
		if i.hash != spec.SpecHash || i.owner != a.f.Metadata.UID {
			continue
		}
		rev, err := read[api.Revision](ctx, a.r.cfg.Store, revisionKey(a.k.Namespace, i.name))
		if err != nil {
			return nil, false, err
		}
		if rev != nil && rev.Metadata.DeletionTimestamp == nil {
			rev.Metadata.Namespace, rev.Metadata.Name = a.k.Namespace, i.name
			return rev, false, nil
		}
	}
	for n := highest + 1; ; n++ {
		rev, err := a.create(ctx, spec, n)
		if api.IsCode(err, api.CodeExists) {
			continue // left by an earlier function of this name
		}
		return rev, err == nil, err
	}
}

func (a *attempt) create(ctx context.Context, spec api.RevisionSpec, n int64) (*api.Revision, error) {
	spec.Number = n
	now := time.Now()
	rev := &api.Revision{
		TypeMeta: api.TypeMeta{APIVersion: api.GroupVersion, Kind: "Revision"},
		Metadata: api.Meta{
			Name: fmt.Sprintf("%s-%d", a.k.Name, n), Namespace: a.k.Namespace, UID: newUID(), Generation: 1, CreationTimestamp: api.NewTime(now),
			Labels: map[string]string{api.LabelFunction: a.k.Name, api.LabelRevision: strconv.FormatInt(n, 10)},
			OwnerReferences: []api.OwnerReference{{
				APIVersion: api.GroupVersion, Kind: "Function", Name: a.k.Name, UID: a.f.Metadata.UID, Controller: true, BlockOwnerDeletion: true,
			}},
		},
		Spec: spec,
	}
	for k, v := range a.f.Metadata.Labels {
		if _, ours := rev.Metadata.Labels[k]; !ours {
			rev.Metadata.Labels[k] = v
		}
	}
	rev.Status.Conditions = rev.Status.Conditions.Set(api.Condition{
		Type: api.ConditionReady, Status: api.Unknown, Reason: "Checking", Message: "an instance is started to see whether the code loads", ObservedGeneration: 1,
	}, now)
	value, err := json.Marshal(rev)
	if err != nil {
		return nil, err
	}
	if _, err := a.r.cfg.Store.Apply(ctx, revisionKey(a.k.Namespace, rev.Metadata.Name), value, store.New); err != nil {
		return nil, err
	}
	a.r.index.putRevision(rev)
	return rev, nil
}

// revisionSpec resolves what is silent, so that a later default does not change
// a revision.
func revisionSpec(f *api.Function, b Built) api.RevisionSpec {
	s := f.Spec
	spec := api.RevisionSpec{
		Function: f.Metadata.Name, Runtime: cmp.Or(b.Runtime, s.Runtime), Artifact: b.Artifact, Handler: cmp.Or(b.Handler, s.Handler),
		Command: s.Command, Env: s.Env, EnvFrom: s.EnvFrom, Secrets: s.Secrets, Config: s.Config,
		Limits: api.Limits{
			Memory: cmp.Or(s.Limits.Memory, binary(api.DefaultMemory)), CPU: s.Limits.CPU,
			Processes: cmp.Or(s.Limits.Processes, api.DefaultProcesses), Disk: cmp.Or(s.Limits.Disk, binary(api.DefaultDisk)),
		},
		Timeout:     api.Duration{Duration: s.Timeout.Or(api.DefaultTimeout)},
		Concurrency: cmp.Or(s.Concurrency, api.DefaultConcurrency),
		Scale:       api.Scale{Min: s.Scale.Min, Max: cmp.Or(s.Scale.Max, api.DefaultMaxScale), Idle: s.Scale.Idle, Auto: s.Scale.Auto},
		Network:     s.Network,
		Port:        s.Port,
		BodyLimit:   s.BodyLimit.Bytes(api.DefaultBodyLimit),
	}
	spec.Scale.Max = max(spec.Scale.Max, spec.Scale.Min)
	if t := s.Timeouts; t != nil {
		spec.RequestTimeout, spec.ResponseStartTimeout, spec.IdleTimeout = t.Request, t.ResponseStart, t.Idle
	}
	if spec.Runtime == api.RuntimeCommand && len(spec.Command) == 0 && strings.ContainsAny(spec.Handler, " \t$") {
		// A command line found in the source, such as a Procfile's.
		spec.Command, spec.Handler = []string{"/bin/sh", "-c", "exec " + spec.Handler}, ""
	}
	if b.Image != "" {
		c, volumes := container(f.Metadata.Namespace, &s, b.Image)
		spec.Containers, spec.Volumes, spec.PullSecrets = []api.Container{c}, volumes, s.PullSecrets
		spec.Concurrency = cmp.Or(s.Concurrency, api.Unlimited)
		// They are the container's.
		spec.Command, spec.Env, spec.EnvFrom, spec.Secrets, spec.Config, spec.Port = nil, nil, nil, nil, nil, nil
	}
	spec.SpecHash = hashOf(spec)
	return spec
}

func binary(n int64) api.Quantity { return api.Quantity(strconv.FormatInt(n>>20, 10) + "Mi") }

func newUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
