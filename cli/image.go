package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
)

// ownHost names hearth's registry in manifests, whatever its address is.
const ownHost = "hearth.local"

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Keep container images in hearth's own registry",
		Long: `Keep container images in the registry that hearth serves itself. Manifests and hearth deploy name them hearth.local/NAMESPACE/NAME:TAG.
Other tools push to the address of the API: docker push HOST:PORT/NAMESPACE/NAME:TAG after docker login, with any user and the token of hearth env as password.`,
		Example: `  docker save shop | hearth image load -
  hearth image build ./shop -t shop:1.2
  hearth deploy hearth.local/default/shop:1.2
  hearth image ls`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	ls := &cobra.Command{
		Use: "ls", Short: "List the images", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.imageList(cmd.Context()) },
	}
	rm := &cobra.Command{
		Use: "rm NAME[:TAG]…", Short: "Remove tags; what no revision uses is dropped later", Args: args(1, -1, "the name of an image"),
		Example: `  hearth image rm shop:1.1`,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.imageRemove(cmd.Context(), args) },
	}
	for _, c := range []*cobra.Command{a.imageBuildCommand(), a.imageLoadCommand(), ls, rm} {
		c.Flags().SortFlags = false
		cmd.AddCommand(c)
	}
	return cmd
}

// shelf is the registry of the hearth that is meant.
type shelf struct {
	host      string
	namespace string
	plain     bool // http
	options   []remote.Option
	trip      *http.Transport
}

// shelf checks that the hearth answers and opens the way to its registry. The
// caller closes it.
func (a *app) shelf(ctx context.Context) (*shelf, error) {
	c, t, err := a.connect()
	if err != nil {
		return nil, err
	}
	if err := c.Reachable(ctx); err != nil {
		return nil, err
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, usage("%q is not the address of a server", t.URL)
	}
	trip := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second}
	if t.CA != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(t.CA)) // connect refused what is none
		trip.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	auth := authn.Anonymous
	if t.Token != "" {
		auth = &authn.Basic{Username: "hearth", Password: t.Token}
	}
	return &shelf{
		host: u.Host, namespace: c.Namespace(), plain: u.Scheme == "http", trip: trip,
		options: []remote.Option{remote.WithContext(ctx), remote.WithTransport(trip), remote.WithAuth(auth), remote.WithUserAgent("hearth/" + a.env.Version)},
	}, nil
}

func (s *shelf) close() { s.trip.CloseIdleConnections() }

// stored is an image under one of its tags.
type stored struct {
	Image     string   `json:"image"` // hearth.local/default/shop:1.2
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"` // compressed bytes
	Platforms []string `json:"platforms"`
}

// place turns what people write into namespace/name and tag: names without
// hearth's host belong to the command's namespace, and hosts of other
// registries are left out.
func (s *shelf) place(ref string) (repo, tag string, err error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return "", "", usage("%q is no name of an image", ref).WithHint("such as shop:1.2")
	}
	t, ok := r.(name.Tag)
	if !ok {
		return "", "", usage("%s names a digest; the registry keeps images by tag", ref).WithHint("such as shop:1.2")
	}
	repo, host := r.Context().RepositoryStr(), r.Context().RegistryStr()
	if host == ownHost || host == s.host {
		if !strings.Contains(repo, "/") {
			return "", "", usage("%s names no tenant", ref).WithHint("%s/%s/%s, or only %s", ownHost, s.namespace, repo, repo)
		}
		return repo, t.TagStr(), nil
	}
	if host == name.DefaultRegistry {
		repo = strings.TrimPrefix(repo, "library/")
	}
	return s.namespace + "/" + repo, t.TagStr(), nil
}

// pinned adds its digest to the tag of an image in the own registry, so that
// deploying again what was built again is a change. Other images are left to the
// server, which has the credentials; so are those that cannot be found.
func (a *app) pinned(ctx context.Context, image string) string {
	r, err := name.ParseReference(image)
	if err != nil {
		return image
	}
	t, ok := r.(name.Tag)
	if !ok || !strings.Contains(t.RepositoryStr(), "/") {
		return image
	}
	if h := t.RegistryStr(); h != ownHost {
		at, err := a.target()
		if u, e := url.Parse(at.URL); err != nil || e != nil || h != u.Host {
			return image
		}
	}
	s, err := a.shelf(ctx)
	if err != nil {
		return image
	}
	defer s.close()
	ref, err := s.reference(t.RepositoryStr(), t.TagStr())
	if err != nil {
		return image
	}
	d, err := remote.Head(ref, s.options...)
	if err != nil {
		return image
	}
	return t.Name() + "@" + d.Digest.String()
}

func (s *shelf) reference(repo, id string) (name.Reference, error) {
	opts := []name.Option{name.StrictValidation}
	if s.plain {
		opts = append(opts, name.Insecure)
	}
	sep := ":"
	if strings.HasPrefix(id, "sha256:") {
		sep = "@"
	}
	return name.ParseReference(s.host+"/"+repo+sep+id, opts...)
}

// push sends an image or index and tells how it is named from now on.
func (s *shelf) push(what any, repo, tag string) (stored, error) {
	ref, err := s.reference(repo, tag)
	if err != nil {
		return stored{}, err
	}
	switch w := what.(type) {
	case v1.Image:
		err = remote.Write(ref, w, s.options...)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, w, s.options...)
	default:
		err = fmt.Errorf("%T is no image", what)
	}
	var te *transport.Error
	if errors.As(err, &te) && len(te.Errors) == 0 {
		// It was a HEAD, whose answer cannot say why; reading does.
		if _, again := remote.Get(ref, s.options...); again != nil {
			err = again
		}
	}
	if err != nil {
		return stored{}, s.explain(err, repo+":"+tag)
	}
	return s.look(repo, tag)
}

// look reads what is kept under a tag.
func (s *shelf) look(repo, tag string) (stored, error) {
	ref, err := s.reference(repo, tag)
	if err != nil {
		return stored{}, err
	}
	d, err := remote.Get(ref, s.options...)
	if err != nil {
		return stored{}, s.explain(err, repo+":"+tag)
	}
	out := stored{Image: ownHost + "/" + repo + ":" + tag, Digest: d.Digest.String()}
	add := func(img v1.Image) error {
		m, err := img.Manifest()
		if err != nil {
			return err
		}
		c, err := img.ConfigFile()
		if err != nil {
			return err
		}
		out.Size += m.Config.Size
		for _, l := range m.Layers {
			out.Size += l.Size
		}
		out.Platforms = append(out.Platforms, v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}.String())
		return nil
	}
	if !d.MediaType.IsIndex() {
		img, err := d.Image()
		if err == nil {
			err = add(img)
		}
		return out, s.explain(err, repo)
	}
	index, err := d.ImageIndex()
	if err != nil {
		return out, s.explain(err, repo)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return out, s.explain(err, repo)
	}
	for _, x := range m.Manifests {
		if !x.MediaType.IsImage() || x.Platform != nil && x.Platform.OS == "unknown" {
			continue
		}
		img, err := index.Image(x.Digest)
		if err == nil {
			err = add(img)
		}
		if err != nil {
			return out, s.explain(err, repo)
		}
	}
	return out, nil
}

// explain turns an error of the registry into one of ours.
func (s *shelf) explain(err error, what string) error {
	var te *transport.Error
	if err == nil || !errors.As(err, &te) {
		return err
	}
	message := http.StatusText(te.StatusCode)
	for _, d := range te.Errors {
		message = cmp.Or(d.Message, message)
	}
	code := api.CodeInternal
	switch te.StatusCode {
	case http.StatusUnauthorized:
		code = api.CodeUnauthorized
	case http.StatusForbidden:
		code = api.CodeForbidden
	case http.StatusNotFound:
		return api.Errorf(api.CodeNotFound, "%s: %s", what, message).WithCause(err).WithHint("hearth image ls lists the images, hearth get namespaces the tenants")
	case http.StatusRequestEntityTooLarge:
		return api.Errorf(api.CodeTooLarge, "%s: %s", what, message).WithCause(err).WithHint("make the image smaller")
	case http.StatusInsufficientStorage:
		code = api.CodeDisk
	case http.StatusBadRequest:
		return api.Errorf(api.CodeInvalid, "%s: %s", what, message).WithCause(err).WithHint("names are of a-z, 0-9, dots, dashes and underscores")
	}
	return api.Errorf(code, "%s", message).WithCause(err)
}

// all lists the images of the namespace.
func (s *shelf) all(ctx context.Context) ([]stored, error) {
	opts := []name.Option{}
	if s.plain {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(s.host, opts...)
	if err != nil {
		return nil, err
	}
	repos, err := remote.Catalog(ctx, reg, s.options...)
	if err != nil {
		return nil, s.explain(err, "the list of images")
	}
	list := []stored{}
	for _, repo := range repos {
		if !strings.HasPrefix(repo, s.namespace+"/") {
			continue
		}
		tags, err := remote.List(reg.Repo(repo), s.options...)
		if err != nil {
			return nil, s.explain(err, repo)
		}
		for _, tag := range tags {
			i, err := s.look(repo, tag)
			if api.IsCode(err, api.CodeNotFound) {
				continue // removed meanwhile
			}
			if err != nil {
				return nil, err
			}
			list = append(list, i)
		}
	}
	return list, nil
}

func (a *app) imageList(ctx context.Context) error {
	s, err := a.shelf(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	p := a.progress("reading the images")
	list, err := s.all(ctx)
	p.done()
	if err != nil {
		return err
	}
	if a.machine() {
		return a.showValue(list)
	}
	if len(list) == 0 {
		a.say("there are no images in tenant %s: hearth image load FILE.tar, or hearth image build FILE -t NAME", s.namespace)
		return nil
	}
	if a.output == "name" {
		for _, i := range list {
			if err := a.data(i.Image + "\n"); err != nil {
				return err
			}
		}
		return nil
	}
	head := []string{"IMAGE", "SIZE", "PLATFORMS", "DIGEST"}
	var rows [][]string
	for _, i := range list {
		digest := i.Digest
		if a.output != "wide" {
			digest = shortDigest(digest)
		}
		rows = append(rows, []string{i.Image, bytesText(i.Size), strings.Join(i.Platforms, ","), digest})
	}
	table(a.Out, a.tablePaint(), head, rows)
	return nil
}

func (a *app) imageRemove(ctx context.Context, refs []string) error {
	s, err := a.shelf(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	for _, r := range refs {
		repo, tag, err := s.place(r)
		if err != nil {
			return err
		}
		ref, err := s.reference(repo, tag)
		if err != nil {
			return err
		}
		if err := remote.Delete(ref, s.options...); err != nil {
			return s.explain(err, repo+":"+tag)
		}
		a.say("%s image %s/%s:%s removed", a.paint.good("✓"), ownHost, repo, tag)
	}
	return nil
}

// kept prints images that were just pushed.
func (a *app) kept(list []stored) error {
	switch {
	case a.machine() && len(list) == 1:
		return a.showValue(list[0])
	case a.machine():
		return a.showValue(list)
	}
	for _, i := range list {
		if a.output == "name" {
			if err := a.data(i.Image + "\n"); err != nil {
				return err
			}
			continue
		}
		a.say("%s image %s   %s, %s, %s", a.paint.good("✓"), i.Image, bytesText(i.Size), strings.Join(i.Platforms, ","), shortDigest(i.Digest))
	}
	return nil
}

func shortDigest(d string) string { return d[:min(len(d), len("sha256:")+12)] }

// bytesText writes a size for people: 512 B, 12 kB, 3.4 MB, 1.2 GB.
func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= 10*u.size {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
