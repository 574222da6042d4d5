// Package image keeps OCI and Docker images on disk: it resolves tags, fetches
// manifests and layers, verifies every digest, unpacks each layer once and drops
// what nobody uses any more. It needs no Docker and no root file system mounts;
// running an unpacked image is driver/container's part, serving a registry
// control/registry's.
//
//	image.go      what callers see: Store, Image, Config
//	auth.go       registry credentials
//	reference.go  names of images; which registry is our own
//	remote.go     manifests and blobs from a registry; inprocess.go from our own
//	store.go      what is on the disk
//	fetch.go      Resolve and Fetch
//	layer.go      one layer: download, verify, unpack, keep
//	unpack.go     tar entries to files, hostile ones refused; folder.go
//	merge.go      layers to one tree, where overlayfs is refused
//	collect.go    what is not used is dropped
package image

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
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

	store *Store
	kept  []kept
	once  sync.Once
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
func (i *Image) Release() { i.once.Do(func() { i.store.unpin(i.Digest, i.kept) }) }
