package image

import (
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/hearth-run/hearth/api"
)

// reference is a parsed name of an image.
type reference struct {
	name.Reference
	local bool // of the own registry
}

// digest is "" for a tag.
func (r reference) digest() string {
	if d, ok := r.Reference.(name.Digest); ok {
		return d.DigestStr()
	}
	return ""
}

func (r reference) repository() string { return r.Context().Name() }

func (r reference) at(digest string) reference {
	return reference{r.Context().Digest(digest), r.local}
}

// parse reads a name as Docker does: without a host it is docker.io's, without a
// tag it is latest.
func (s *Store) parse(ref string) (reference, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return reference{}, api.Errorf(api.CodeInvalid, "%q is no name of an image", ref).WithCause(err).
			WithHint("names look like node:24, ghcr.io/owner/name:tag, %s/NAMESPACE/NAME:TAG or NAME@sha256:DIGEST", LocalHost)
	}
	host := r.Context().RegistryStr()
	if host != LocalHost && !slices.Contains(s.o.LocalHosts, host) {
		return reference{r, false}, nil
	}
	// Insecure only says that the scheme is http: no byte leaves the process.
	r, err = name.ParseReference(ref, name.Insecure)
	return reference{r, true}, err
}

// allowed says whether the tenant may see the repository at all.
func (r reference) allowed(namespace string) error {
	if !r.local {
		return nil
	}
	tenant, rest, _ := strings.Cut(r.Context().RepositoryStr(), "/")
	if rest == "" {
		return api.Errorf(api.CodeInvalid, "%s names no tenant", r).
			WithHint("images of the own registry are %s/NAMESPACE/NAME:TAG", LocalHost)
	}
	if namespace != "" && tenant != namespace {
		return api.Errorf(api.CodeForbidden, "%s belongs to tenant %s, and the image is for tenant %s", r, tenant, namespace).
			WithHint("push it as %s/%s/%s too", LocalHost, namespace, rest)
	}
	return nil
}
