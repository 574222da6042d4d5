package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/hearth-run/hearth/api"
)

const (
	manifestLimit = 4 << 20 // as most registries have it
	configLimit   = 8 << 20
	manifestTime  = time.Minute
)

// session is a way into one repository, with the credential that was let in.
type session struct {
	ref   reference
	trip  http.RoundTripper // authenticates
	limit Limits
}

// enter asks for the manifest of ref with each fitting credential in turn and
// returns the session of the first that was let in, with the manifest.
func (s *Store) enter(ctx context.Context, ref reference, a Auth) (*session, *remote.Descriptor, error) {
	if err := ref.allowed(a.Namespace); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, manifestTime)
	defer cancel()
	inner, err := s.transport(ref)
	if err != nil {
		return nil, nil, err
	}
	var first error
	for _, auth := range a.authenticators(ref) {
		x, d, err := s.try(ctx, ref, auth, inner)
		if err == nil {
			return x, d, nil
		}
		if first == nil || status(first) == http.StatusUnauthorized {
			first = err // the best credential's refusal says most
		}
		if c := status(err); c != http.StatusUnauthorized && c != http.StatusForbidden {
			first = err
			break
		}
	}
	return nil, nil, explain(ctx, ref, first)
}

func (s *Store) try(ctx context.Context, ref reference, auth authn.Authenticator, inner http.RoundTripper) (*session, *remote.Descriptor, error) {
	trip, err := transport.NewWithContext(ctx, ref.Context().Registry, auth, inner, []string{ref.Context().Scope(transport.PullScope)})
	if err != nil {
		return nil, nil, err
	}
	d, err := remote.Get(ref.Reference, remote.WithTransport(trip), remote.WithContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	return &session{ref, trip, s.o.Limits}, d, nil
}

// transport reaches the registry of ref. Answers other than blobs are bounded,
// and asked again where the registry stumbles.
func (s *Store) transport(ref reference) (http.RoundTripper, error) {
	if ref.local {
		if s.o.Local == nil {
			return nil, api.Errorf(api.CodeUnsupported, "%s is an image of hearth's own registry, which is not served here", ref)
		}
		return bounded{inProcess{s.o.Local}}, nil
	}
	return transport.NewRetry(bounded{s.o.Transport}), nil
}

// manifest gets a manifest of the session's repository by digest.
func (x *session) manifest(ctx context.Context, digest string) (*remote.Descriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, manifestTime)
	defer cancel()
	ref := x.ref.at(digest)
	d, err := remote.Get(ref.Reference, remote.WithTransport(x.trip), remote.WithContext(ctx))
	if err != nil {
		return nil, explain(ctx, ref, err)
	}
	return d, nil
}

// config gets a small blob and verifies it.
func (x *session) config(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Size > configLimit {
		return nil, api.Errorf(api.CodeTooLarge, "the configuration of %s has %d bytes, more than %d", x.ref, d.Size, configLimit)
	}
	ctx, cancel := context.WithTimeout(ctx, manifestTime)
	defer cancel()
	body, _, err := x.blob(ctx, d.Digest, 0)
	if err != nil {
		return nil, explain(ctx, x.ref, err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, d.Size+1))
	if err != nil {
		return nil, explain(ctx, x.ref, err)
	}
	if h, err := v1.Hasher(d.Digest.Algorithm); err != nil {
		return nil, err
	} else if h.Write(data); int64(len(data)) != d.Size || fmt.Sprintf("%x", h.Sum(nil)) != d.Digest.Hex {
		return nil, wrongDigest("configuration", x.ref, d.Digest)
	}
	return data, nil
}

// blob opens a blob from a byte on. Where the registry does not do ranges, from
// says that it starts at 0 again.
func (x *session) blob(ctx context.Context, h v1.Hash, offset int64) (body io.ReadCloser, from int64, err error) {
	reg := x.ref.Context().Registry
	u := url.URL{Scheme: reg.Scheme(), Host: reg.RegistryStr(), Path: "/v2/" + x.ref.Context().RepositoryStr() + "/blobs/" + h.String()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	// Without this the client would ask for gzip and unpack what it gets.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := (&http.Client{Transport: x.trip, CheckRedirect: checkRedirect}).Do(req)
	if err != nil {
		return nil, 0, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		return res.Body, 0, nil
	case http.StatusPartialContent:
		var start int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-", &start); err == nil && start == offset {
			return res.Body, offset, nil
		}
		fallthrough
	case http.StatusRequestedRangeNotSatisfiable:
		res.Body.Close()
		if offset == 0 {
			return nil, 0, fmt.Errorf("the registry answered %s to a plain request", res.Status)
		}
		return x.blob(ctx, h, 0)
	}
	defer res.Body.Close()
	err = transport.CheckError(res, http.StatusOK)
	return nil, 0, err
}

// checkRedirect lets registries send us to their storage, but not to addresses
// inside the network that a name on the outside has no business with.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("the registry redirects in circles")
	}
	to, from := req.URL.Hostname(), via[0].URL.Hostname()
	if to == from {
		return nil
	}
	if ip := net.ParseIP(to); ip != nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()) {
		return fmt.Errorf("the registry redirects to the private address %s", to)
	}
	return nil
}

// bounded keeps a registry from answering without end where a short answer is
// due. Blobs have their own bounds.
type bounded struct{ inner http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.inner.RoundTrip(req)
	if err == nil && !strings.Contains(req.URL.Path, "/blobs/") && req.Response == nil {
		res.Body = http.MaxBytesReader(nil, res.Body, manifestLimit)
	}
	return res, err
}

// status is the registry's answer that err tells of, or 0.
func status(err error) int {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode
	}
	return 0
}

// explain turns an error of the network or a registry into one of ours.
func explain(ctx context.Context, ref reference, err error) error {
	var own *api.Error
	var big *http.MaxBytesError
	switch {
	case err == nil, errors.As(err, &own):
		return err
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return err
	case errors.As(err, &big):
		return api.Errorf(api.CodeTooLarge, "the manifest of %s has more than %d bytes", ref, manifestLimit)
	case strings.Contains(err.Error(), "does not match requested digest"):
		return api.Errorf(api.CodeChecksum, "the registry's manifest of %s is another than its digest says", ref).WithCause(err).
			WithHint("ask who runs %s; nothing was kept", ref.Context().RegistryStr())
	}
	host := ref.Context().RegistryStr()
	switch c := status(err); c {
	case http.StatusUnauthorized, http.StatusForbidden:
		return api.Errorf(api.CodeForbidden, "the registry %s gives no access to %s", host, ref).WithCause(err).
			WithHint("check the name; for a private image name a Secret of type kubernetes.io/dockerconfigjson in imagePullSecrets")
	case http.StatusNotFound:
		e := api.Errorf(api.CodeNotFound, "there is no image %s", ref).WithCause(err)
		if ref.local {
			return e.WithHint("hearth image ls lists what the own registry has; hearth image load FILE.tar adds to it")
		}
		return e.WithHint("check name and tag; %s does not know them", host)
	case http.StatusTooManyRequests:
		return api.Errorf(api.CodeUnreachable, "the registry %s allows no more requests now", host).WithCause(err).
			WithHint("wait, or name credentials in imagePullSecrets: many registries allow more to those they know")
	case 0:
		return api.Errorf(api.CodeUnreachable, "cannot fetch %s: %s", ref, reason(err)).WithCause(err).
			WithHint("check that this machine reaches %s", host)
	default:
		return api.Errorf(api.CodeUnreachable, "the registry %s answered %d for %s", host, c, ref).WithCause(err).
			WithHint("try again later, or ask who runs %s", host)
	}
}

// reason is the innermost plain text of a network error, without addresses that
// may carry signatures of storage.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the registry did not answer in time"
	}
	return err.Error()
}

func wrongDigest(what string, ref reference, h v1.Hash) error {
	return api.Errorf(api.CodeChecksum, "the %s of %s is not what its digest %s says", what, ref, h).
		WithHint("the registry or something on the way to it damages or changes data; nothing of it was kept")
}
