package node

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/reconcile"
	"github.com/hearth-run/hearth/driver/container/image"
)

// resolveTime bounds how long a registry is asked for one digest where nobody says
// otherwise.
const resolveTime = 10 * time.Second

// resolveImages finds the digests of a revision's images. With an error it
// returns those that were found before.
func (n *Node) resolveImages(ctx context.Context, r *api.Revision, within time.Duration) (map[string]string, error) {
	if n.images == nil {
		return nil, nil // nothing runs them: starting says so
	}
	within = cmp.Or(within, resolveTime)
	docs, err := n.binder.Pull(ctx, r)
	if err != nil {
		return nil, err
	}
	auth := image.Auth{Namespace: r.Metadata.Namespace}
	for _, d := range docs {
		c, err := image.ParseDockerConfig(d)
		if err != nil {
			return nil, err
		}
		auth.Credentials = append(auth.Credentials, c...)
	}
	found := map[string]string{}
	for _, list := range [][]api.Container{r.Spec.Containers, r.Spec.InitContainers} {
		for _, c := range list {
			if found[c.Image] != "" {
				continue
			}
			one, cancel := context.WithTimeout(ctx, within)
			ref, err := n.images.Resolve(one, c.Image, auth)
			late := errors.Is(one.Err(), context.DeadlineExceeded)
			cancel()
			if late && ctx.Err() == nil {
				return found, api.Errorf(api.CodeUnreachable, "the registry did not answer within %s", within).WithCause(err)
			}
			if err != nil {
				return found, err
			}
			found[c.Image] = ref
		}
	}
	return found, nil
}

// buildImage is the build of a function whose source is an image: finding its
// digest.
func (n *Node) buildImage(ctx context.Context, r reconcile.BuildRequest) (reconcile.Built, error) {
	s := r.Function.Spec
	began := time.Now()
	found, err := n.resolveImages(ctx, &api.Revision{
		Metadata: api.Meta{Namespace: r.Namespace},
		Spec:     api.RevisionSpec{PullSecrets: s.PullSecrets, Containers: []api.Container{{Image: s.Source.Image}}},
	}, 0)
	if err != nil {
		return reconcile.Built{}, err
	}
	ref := found[s.Source.Image]
	if ref == "" {
		ref = s.Source.Image
	}
	return reconcile.Built{Image: ref, Source: ref, Duration: time.Since(began)}, nil
}
