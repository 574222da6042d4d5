// Package image keeps OCI and Docker images on disk: it resolves tags, fetches
// manifests and layers, verifies every digest, unpacks each layer once and drops
// what nobody uses any more. It needs no Docker and no root file system mounts;
// running an unpacked image is driver/container's part, serving a registry
// control/registry's.
//
//	image.go      what callers see: Store, Image, Config
//	auth.go       registry credentials
//	reference.go  names of images; which registry is our own
//	remote.go     manifests and blobs from a registry
//	fetch.go      Fetch and Resolve
//	layer.go      one layer: download, verify, unpack, keep
//	unpack.go     tar entries to files, hostile ones refused
//	merge.go      layers to one tree, where overlayfs is refused
//	collect.go    what is not used is dropped
package image

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
)

// LocalHost is the registry host that always means hearth's own registry:
// hearth.local/NAMESPACE/NAME:TAG. It is never looked up in the network.
const LocalHost = "hearth.local"

// Options configure a Store. Dir is needed.
type Options struct {
	Dir string       // everything is kept below it; made with mode 0700
	Log *slog.Logger // nil: none
	// Local answers the distribution API for images of the own registry,
	// without credentials; nil: there is none.
	Local http.Handler
	// LocalHosts name the own registry besides LocalHost, such as
	// localhost:4000.
	LocalHosts []string
	// Overlay writes whiteouts and opaque folders as overlayfs reads them. Off,
	// layers hold none, and only Image.Copy makes a root file system of them.
	// A store that was opened the other way before unpacks anew.
	Overlay bool
	// UserXattr marks opaque folders by user.overlay.opaque (for mounts with
	// the option userxattr) instead of trusted.overlay.opaque.
	UserXattr bool
	// Platform is the image wanted of an index; linux and this machine's
	// architecture if empty. linux/arm64 or linux/arm/v7.
	Platform string
	// Transport reaches other registries; nil: http.DefaultTransport.
	Transport http.RoundTripper
	Limits    Limits
}

// Limits bound what an image may cost. Zero fields take the defaults.
type Limits struct {
	Download int64         // bytes of one compressed layer; 8 GiB
	Unpacked int64         // bytes of one unpacked layer; 16 GiB
	Files    int           // entries of one layer; 1,000,000
	Layers   int           // of one image; 256
	Stall    time.Duration // without a byte before a download starts again; 30 s
	Tries    int           // of one download; 5
}

// Image is a fetched image whose layers are on the disk. It is pinned: Collect
// keeps it until Release.
type Image struct {
	// Digest is the digest it was asked for by: that of the index where there
	// is one, else of the manifest. sha256:…
	Digest string
	Config Config
	// Layers are the unpacked folders, lowest first. They must not be written.
	Layers []string
	Size   int64 // bytes of the unpacked layers

	store    *Store
	layerIDs []string
	once     sync.Once
}

// Config is how the image wants to be run.
type Config struct {
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Env          []string          `json:"env,omitempty"` // NAME=value
	WorkingDir   string            `json:"workingDir,omitempty"`
	User         string            `json:"user,omitempty"`         // user[:group], names or numbers; empty: root
	ExposedPorts []string          `json:"exposedPorts,omitempty"` // 8080/tcp, sorted
	StopSignal   string            `json:"stopSignal,omitempty"`   // SIGTERM or a number; empty: SIGTERM
	Volumes      []string          `json:"volumes,omitempty"`      // sorted
	Labels       map[string]string `json:"labels,omitempty"`
	Platform     string            `json:"platform"` // linux/amd64
}

// Progress is how far a fetch is.
type Progress struct {
	Layers, Ready int   // layers of the image, and those unpacked
	Bytes, Total  int64 // of the compressed layers that must be fetched
}

// WithProgress returns a context whose Fetch tells f how far it is, from one
// goroutine at a time and at most some ten times a second, and once at its end.
func WithProgress(ctx context.Context, f func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, f)
}

type progressKey struct{}

// Release ends the pin of i. Releasing twice is no error.
func (i *Image) Release() {}

// Copy makes the folder to, which must not exist, and writes the merged tree of
// all layers into it, as overlayfs would show it. A copy that fails is removed.
func (i *Image) Copy(ctx context.Context, to string) error { return unfinished() }

// Store keeps images. All methods are safe for concurrent use.
type Store struct{ o Options }

// Open opens the store in o.Dir. What a killed process left half made is
// removed. One process opens a folder at a time. There is nothing to close.
func Open(o Options) (*Store, error) { return &Store{o}, nil }

// Resolve returns ref with its tag replaced by the digest it stands for now:
// repository@sha256:…, of the index where there is one. Nothing is fetched but
// the manifest; an index without this platform is api.CodeUnsupported. A ref
// with a digest is returned as it is, without asking.
func (s *Store) Resolve(ctx context.Context, ref string, a Auth) (string, error) {
	return "", unfinished()
}

// Fetch returns the image ref stands for, fetched and unpacked where it is not
// yet. A ref by digest that was fetched for a.Namespace before needs no network.
// Concurrent fetches share the work on each layer; when ctx ends the work goes
// on for those who still wait, and otherwise ends. The caller releases the image.
func (s *Store) Fetch(ctx context.Context, ref string, a Auth) (*Image, error) {
	return nil, unfinished()
}

// Collect drops images whose digest keep refuses and nobody has pinned, and
// layers no image needs. It returns the bytes that became free. A nil keep
// drops everything not pinned.
func (s *Store) Collect(ctx context.Context, keep func(digest string) bool) (int64, error) {
	return 0, unfinished()
}

// Forget drops the image with this digest, unless somebody has pinned it, and
// layers no other needs. One that is not there is no error.
func (s *Store) Forget(ctx context.Context, digest string) error { return unfinished() }

func unfinished() error { return api.Errorf(api.CodeUnsupported, "images are not built yet") }
