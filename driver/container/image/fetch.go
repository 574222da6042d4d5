package image

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/hearth-run/hearth/api"
)

// Resolve returns ref with its tag replaced by the digest it stands for now:
// repository@sha256:…, of the index where there is one. Nothing is fetched but
// the manifest; an index without this platform is api.CodeUnsupported. A ref
// with a digest is returned as it is, without asking.
func (s *Store) Resolve(ctx context.Context, ref string, a Auth) (string, error) {
	r, err := s.parse(ref)
	if err != nil {
		return "", err
	}
	if d := r.digest(); d != "" {
		return r.repository() + "@" + d, r.allowed(a.Namespace)
	}
	_, d, err := s.enter(ctx, r, a)
	if err != nil {
		return "", err
	}
	if d.MediaType.IsIndex() {
		if _, err := s.choose(r, d); err != nil {
			return "", err
		}
	}
	return r.repository() + "@" + d.Digest.String(), nil
}

// Fetch returns the image ref stands for, fetched and unpacked where it is not
// yet. A ref by digest that was fetched for a.Namespace before needs no network.
// Concurrent fetches share the work on each layer; when ctx ends the work goes
// on for those who still wait, and otherwise ends. The caller releases the image.
func (s *Store) Fetch(ctx context.Context, ref string, a Auth) (*Image, error) {
	if !supported {
		return nil, api.Errorf(api.CodeUnsupported, "container images run on Linux only")
	}
	r, err := s.parse(ref)
	if err != nil {
		return nil, err
	}
	if err := r.allowed(a.Namespace); err != nil {
		return nil, err
	}
	who := access{a.Namespace, r.repository()}
	if d := r.digest(); d != "" {
		if i := s.held(d, who); i != nil {
			tell(ctx, i)
			return i, nil
		}
	}
	x, d, err := s.enter(ctx, r, a)
	if err != nil {
		return nil, err
	}
	// The registry let this tenant in: what others fetched is its too.
	if i, err := s.admit(d.Digest.String(), who); i != nil || err != nil {
		tell(ctx, i)
		return i, err
	}
	p, err := s.plan(ctx, x, d)
	if err != nil {
		return nil, err
	}
	digest := d.Digest.String()
	s.pin(digest, p.layers)
	if err := s.fetchLayers(ctx, x, p); err != nil {
		s.unpin(digest, p.layers)
		return nil, err
	}
	rec := saved{Digest: digest, Manifest: p.manifest, Config: p.config, Layers: p.layers, Seen: []access{who}}
	if err := s.keep(&rec); err != nil {
		s.unpin(digest, p.layers)
		return nil, err
	}
	s.o.Log.DebugContext(ctx, "image fetched", "image", r.String(), "digest", digest, "layers", len(p.layers))
	return s.image(rec), nil
}

// held returns an image that is on the disk and that who may use, pinned; else
// nil.
func (s *Store) held(digest string, who access) *Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.load(digest)
	if !ok || !slices.Contains(rec.Seen, who) || !s.whole(rec) {
		return nil
	}
	s.pinLocked(digest, rec.Layers)
	return s.image(rec)
}

// admit is held for somebody who was just let in.
func (s *Store) admit(digest string, who access) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.load(digest)
	if !ok || !s.whole(rec) {
		return nil, nil
	}
	if !slices.Contains(rec.Seen, who) {
		rec.Seen = append(slices.Clone(rec.Seen), who)
		if err := s.save(rec); err != nil {
			return nil, err
		}
	}
	s.pinLocked(digest, rec.Layers)
	return s.image(rec), nil
}

// keep saves the record of an image that is now whole, with what another fetch
// of it may have written meanwhile.
func (s *Store) keep(rec *saved) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.load(rec.Digest); ok {
		for _, a := range old.Seen {
			if !slices.Contains(rec.Seen, a) {
				rec.Seen = append(rec.Seen, a)
			}
		}
	}
	return s.save(*rec)
}

func (s *Store) image(r saved) *Image {
	i := &Image{Digest: r.Digest, Config: r.Config, store: s, kept: r.Layers}
	for n, l := range r.Layers {
		// Of a layer that comes twice only the upper one counts: it gives and
		// hides all that the lower one does. Overlayfs takes no folder twice.
		if slices.ContainsFunc(r.Layers[n+1:], func(o kept) bool { return o.DiffID == l.DiffID }) {
			continue
		}
		if l.Alone { // overlayfs does not look for that mark on a layer's root
			i.Layers, i.Size = nil, 0
		}
		i.Layers = append(i.Layers, s.at("layers", s.layerName(l.DiffID), "fs"))
		i.Size += l.Size
	}
	return i
}

// plan is what a manifest asks for.
type plan struct {
	manifest string
	config   Config
	layers   []kept
	blobs    []v1.Descriptor // of the layers
}

func (s *Store) plan(ctx context.Context, x *session, d *remote.Descriptor) (*plan, error) {
	for range 3 { // an index may hold indexes
		if !d.MediaType.IsIndex() {
			break
		}
		c, err := s.choose(x.ref, d)
		if err != nil {
			return nil, err
		}
		if d, err = x.manifest(ctx, c.Digest.String()); err != nil {
			return nil, err
		}
	}
	if !d.MediaType.IsImage() {
		return nil, api.Errorf(api.CodeUnsupported, "%s is no container image but %s", x.ref, orNothing(string(d.MediaType))).
			WithHint("images have manifests of OCI or of Docker's schema 2; docker buildx build --push makes one")
	}
	m, err := v1.ParseManifest(bytes.NewReader(d.Manifest))
	if err != nil {
		return nil, damaged(x.ref, "its manifest cannot be read").WithCause(err)
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, api.Errorf(api.CodeUnsupported, "%s is no container image: its configuration is %s", x.ref, orNothing(string(m.Config.MediaType))).
			WithHint("it may be a chart or another artifact that is kept in a registry")
	}
	text, err := x.config(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	cf, err := v1.ParseConfigFile(bytes.NewReader(text))
	if err != nil {
		return nil, damaged(x.ref, "its configuration cannot be read").WithCause(err)
	}
	got := v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant}
	if got.OS != "" && got.Architecture != "" && !s.runs(got) {
		return nil, wrongPlatform(x.ref, s.platform, []string{got.String()})
	}
	if len(cf.RootFS.DiffIDs) != len(m.Layers) {
		return nil, damaged(x.ref, "manifest and configuration differ in the number of layers")
	}
	if len(m.Layers) > s.o.Limits.Layers {
		return nil, api.Errorf(api.CodeTooLarge, "%s has %d layers, more than %d", x.ref, len(m.Layers), s.o.Limits.Layers).
			WithHint("build it in fewer steps, or squash it")
	}
	p := &plan{manifest: d.Digest.String(), config: configOf(cf)}
	if p.config.Platform == "/" {
		p.config.Platform = s.platform.String()
	}
	for i, l := range m.Layers {
		if !l.MediaType.IsLayer() || !l.MediaType.IsDistributable() {
			return nil, api.Errorf(api.CodeUnsupported, "%s has a layer of type %s", x.ref, orNothing(string(l.MediaType))).
				WithHint("layers are tar files: plain, gzip or zstd")
		}
		if l.Size < 0 || len(l.Digest.Hex) > 128 || strings.Trim(l.Digest.Hex, "0123456789abcdef") != "" {
			return nil, damaged(x.ref, "a layer's size or digest makes no sense")
		}
		if l.Size > s.o.Limits.Download {
			return nil, api.Errorf(api.CodeTooLarge, "layer %d of %s has %d bytes, more than %d", i+1, x.ref, l.Size, s.o.Limits.Download)
		}
		id := cf.RootFS.DiffIDs[i]
		if id.Algorithm != "sha256" || len(id.Hex) != 64 || strings.Trim(id.Hex, "0123456789abcdef") != "" {
			return nil, damaged(x.ref, "a layer's digest is not sha256")
		}
		p.layers = append(p.layers, kept{DiffID: id.String()})
		p.blobs = append(p.blobs, l)
	}
	return p, nil
}

func configOf(cf *v1.ConfigFile) Config {
	c := cf.Config
	return Config{
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, WorkingDir: c.WorkingDir, User: c.User, StopSignal: c.StopSignal, Labels: c.Labels,
		ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)), Volumes: slices.Sorted(maps.Keys(c.Volumes)),
		Platform: v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant}.String(),
	}
}

// choose finds this platform's image in an index.
func (s *Store) choose(ref reference, d *remote.Descriptor) (v1.Descriptor, error) {
	var none v1.Descriptor
	ix, err := v1.ParseIndexManifest(bytes.NewReader(d.Manifest))
	if err != nil {
		return none, damaged(ref, "its index cannot be read").WithCause(err)
	}
	var there []string
	best := -1
	for i, m := range ix.Manifests {
		if !m.MediaType.IsImage() && !m.MediaType.IsIndex() {
			continue
		}
		if m.Platform == nil {
			if len(ix.Manifests) == 1 {
				return m, nil // its configuration says what it is for
			}
			continue
		}
		if m.Platform.OS == "unknown" {
			continue // an attestation about another
		}
		there = append(there, m.Platform.String())
		if s.runs(*m.Platform) && (best < 0 || better(*m.Platform, *ix.Manifests[best].Platform)) {
			best = i
		}
	}
	if best < 0 {
		return none, wrongPlatform(ref, s.platform, there)
	}
	return ix.Manifests[best], nil
}

// runs reports whether images for p run here. Variants count for arm only: those
// of others name instructions that may be missing, so they rank last in better.
func (s *Store) runs(p v1.Platform) bool {
	if p.OS != s.platform.OS || p.Architecture != s.platform.Architecture {
		return false
	}
	return p.Architecture != "arm" || s.platform.Variant == "" || p.Variant <= s.platform.Variant
}

func better(a, b v1.Platform) bool {
	if a.Architecture == "arm" {
		return a.Variant > b.Variant
	}
	return a.Variant < b.Variant
}

func wrongPlatform(ref reference, want v1.Platform, there []string) error {
	list := "no platform"
	if len(there) > 0 {
		list = strings.Join(there, ", ")
	}
	return api.Errorf(api.CodeUnsupported, "%s has no image for %s, only for %s", ref, want, list).
		WithHint("build it with docker buildx build --platform %s", want)
}

func damaged(ref reference, why string) *api.Error {
	return api.Errorf(api.CodeInvalid, "%s is damaged: %s", ref, why).WithHint("build and push the image again")
}

func orNothing(mediaType string) string {
	if mediaType == "" {
		return "of no type"
	}
	return mediaType
}

// fetchLayers waits until all layers are there and tells how far it is.
func (s *Store) fetchLayers(ctx context.Context, x *session, p *plan) error {
	f, _ := ctx.Value(progressKey{}).(func(Progress))
	flights := make([]*flight, len(p.layers))
	done := make(chan result)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, l := range p.layers {
		shared, mine := s.join(ctx, l, x, p.blobs[i])
		flights[i] = shared
		go func() {
			a, err := s.wait(ctx, shared, mine, l, x, p.blobs[i])
			done <- result{i, a, err}
		}()
	}
	now := func(ready int) {
		if f == nil {
			return
		}
		g := Progress{Layers: len(flights), Ready: ready}
		for i, w := range flights {
			if w.present {
				continue
			}
			g.Total += p.blobs[i].Size
			g.Bytes += w.got.Load()
		}
		f(g)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var failed error
	ready := 0
	for left := len(flights); left > 0; {
		select {
		case r := <-done:
			left--
			if r.err == nil {
				l := &p.layers[r.i]
				l.Size, l.Alone = r.about.Size, slices.Contains(r.about.Opaque, ".")
				ready++
			} else if failed == nil {
				failed = r.err
				cancel()
			}
		case <-tick.C:
			now(ready)
		}
	}
	now(ready)
	return failed
}

type result struct {
	i     int
	about about
	err   error
}

// tell ends the progress of a fetch that had nothing to do.
func tell(ctx context.Context, i *Image) {
	if f, ok := ctx.Value(progressKey{}).(func(Progress)); ok && i != nil {
		f(Progress{Layers: len(i.Layers), Ready: len(i.Layers)})
	}
}

// about is what layer.json says.
type about struct {
	DiffID    string   `json:"diffID"`
	Size      int64    `json:"size"` // bytes of its files
	Files     int      `json:"files"`
	Whiteouts []string `json:"whiteouts,omitempty"` // paths that hide those below
	Opaque    []string `json:"opaque,omitempty"`    // folders that hide those below
}

func readAbout(data []byte) (a about, err error) {
	err = json.Unmarshal(data, &a)
	return a, err
}
