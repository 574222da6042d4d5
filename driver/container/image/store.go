package image

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/durable"
)

// Store keeps images. All methods are safe for concurrent use.
//
// Below its folder, new holds what is being made and partial what is being
// downloaded; layers/HEX-MODE is an unpacked layer by the digest of its tar
// (its files in fs, see layer.go), images/HEX.json an image by the digest it is
// asked for by. What has its last name is whole and on the disk.
type Store struct {
	o        Options
	platform v1.Platform
	boot     string // see settle
	settling sync.WaitGroup

	downloads, unpacks chan struct{} // bound the layers being fetched

	mu     sync.Mutex
	known  map[string]saved // records by digest, as they are on the disk
	pinned map[string]int   // images by digest
	used   map[string]int   // layers by folder name
	work   map[string]*flight
}

// Open opens the store in o.Dir. What a killed process left half made is
// removed. One process opens a folder at a time. Close may follow.
func Open(o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Platform == "" {
		o.Platform = "linux/" + runtime.GOARCH
	}
	l := &o.Limits
	l.Download, l.Unpacked = cmp.Or(l.Download, 8<<30), cmp.Or(l.Unpacked, 16<<30)
	l.Files, l.Layers = cmp.Or(l.Files, 1_000_000), cmp.Or(l.Layers, 256)
	l.Stall, l.Tries = cmp.Or(l.Stall, 30*time.Second), cmp.Or(l.Tries, 5)
	p, err := v1.ParsePlatform(o.Platform)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return nil, api.Errorf(api.CodeInvalid, "%q is no platform", o.Platform).WithHint("such as linux/amd64")
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, problem(err)
	}
	s := &Store{
		o: o, platform: *p, downloads: make(chan struct{}, 8), unpacks: make(chan struct{}, min(4, max(2, runtime.NumCPU()))),
		boot: bootID(), known: map[string]saved{}, pinned: map[string]int{}, used: map[string]int{}, work: map[string]*flight{},
	}
	return s, s.clean()
}

// Close waits until what was fetched is on the disk. Without it a part may have
// to be fetched again when the machine goes down just then.
func (s *Store) Close() { s.settling.Wait() }

func (s *Store) at(names ...string) string {
	return filepath.Join(append([]string{s.o.Dir}, names...)...)
}

// clean makes the folders and drops what is half made, of another mode, or an
// image with a layer missing.
func (s *Store) clean() error {
	if err := removeAll(s.at("new")); err != nil {
		return problem(err)
	}
	for _, d := range []string{"new", "partial", "layers", "images"} {
		if err := os.MkdirAll(s.at(d), 0o700); err != nil {
			return problem(err)
		}
	}
	layers, err := os.ReadDir(s.at("layers"))
	if err != nil {
		return problem(err)
	}
	for _, e := range layers {
		layer := s.at("layers", e.Name())
		if strings.HasSuffix(e.Name(), "-"+s.mode()) {
			state, err := os.OpenFile(filepath.Join(layer, stateFile), os.O_RDWR, 0)
			if err == nil {
				text, _ := io.ReadAll(io.LimitReader(state, 100))
				switch {
				case string(text) == settled:
					state.Close()
					continue
				case s.boot != "" && string(text) == s.boot:
					s.settling.Go(func() { s.settle(state) })
					continue
				}
				state.Close()
			}
		}
		if err := removeAll(layer); err != nil {
			return problem(err)
		}
	}
	records, err := s.records()
	if err != nil {
		return err
	}
	for _, r := range records {
		if !s.whole(r) {
			if err := os.Remove(s.record(r.Digest)); err != nil {
				return problem(err)
			}
		}
	}
	for _, d := range []string{s.at("layers"), s.at("images"), s.o.Dir, filepath.Dir(s.o.Dir)} {
		if err := durable.SyncFolder(d); err != nil {
			return problem(err)
		}
	}
	return nil
}

// mode tells layers unpacked for one kind of mount from those for another.
func (s *Store) mode() string {
	switch {
	case !s.o.Overlay:
		return "plain"
	case s.o.UserXattr:
		return "user"
	}
	return "overlay"
}

// kept is a layer as a record names it.
type kept struct {
	DiffID string `json:"diffID"`
	Size   int64  `json:"size"`            // unpacked bytes
	Alone  bool   `json:"alone,omitempty"` // it hides all layers below
}

func (s *Store) layerName(diffID string) string {
	_, hex, _ := strings.Cut(diffID, ":")
	return hex + "-" + s.mode()
}

// saved is images/HEX.json.
type saved struct {
	Digest   string   `json:"digest"`
	Manifest string   `json:"manifest"`
	Config   Config   `json:"config"`
	Layers   []kept   `json:"layers"`
	Seen     []access `json:"seen"`
}

// access says that a tenant was let in to a repository that has the image.
type access struct {
	Namespace  string `json:"namespace"`
	Repository string `json:"repository"`
}

func (s *Store) record(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return s.at("images", hex+".json")
}

// load returns the record of a digest; false means there is none. The caller
// holds s.mu.
func (s *Store) load(digest string) (saved, bool) {
	if r, ok := s.known[digest]; ok {
		return r, true
	}
	data, err := os.ReadFile(s.record(digest))
	var r saved
	if err != nil || json.Unmarshal(data, &r) != nil || r.Digest != digest {
		return saved{}, false // damaged: fetched again and written anew
	}
	s.known[digest] = r
	return r, true
}

// records reads all of them; damaged ones are passed over.
func (s *Store) records() ([]saved, error) {
	files, err := os.ReadDir(s.at("images"))
	if err != nil {
		return nil, problem(err)
	}
	var all []saved
	for _, f := range files {
		var r saved
		data, err := os.ReadFile(s.at("images", f.Name()))
		if err == nil && json.Unmarshal(data, &r) == nil && s.record(r.Digest) == s.at("images", f.Name()) {
			all = append(all, r)
		}
	}
	return all, nil
}

// whole reports whether all layers of r are there.
func (s *Store) whole(r saved) bool {
	for _, l := range r.Layers {
		if !s.has(l.DiffID) {
			return false
		}
	}
	return true
}

func (s *Store) has(diffID string) bool {
	_, err := os.Lstat(s.at("layers", s.layerName(diffID)))
	return err == nil
}

// save writes a record; the caller holds s.mu. It is on the disk with its layers:
// one that is lost or torn when the machine goes down is as none.
func (s *Store) save(r saved) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.at("new"), "image-")
	if err != nil {
		return problem(err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return problem(err)
	}
	if err := os.Rename(f.Name(), s.record(r.Digest)); err != nil {
		return problem(err)
	}
	s.known[r.Digest] = r
	return nil
}

func (s *Store) pin(digest string, layers []kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pinLocked(digest, layers)
}

func (s *Store) pinLocked(digest string, layers []kept) {
	s.pinned[digest]++
	for _, l := range layers {
		s.used[s.layerName(l.DiffID)]++
	}
}

func (s *Store) unpin(digest string, layers []kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned[digest]--; s.pinned[digest] == 0 {
		delete(s.pinned, digest)
	}
	for _, l := range layers {
		n := s.layerName(l.DiffID)
		if s.used[n]--; s.used[n] == 0 {
			delete(s.used, n)
		}
	}
}

// problem turns an error of the disk into one of ours.
func problem(err error) error {
	refused, full := durable.Refused(err)
	switch {
	case !refused:
		return err
	case full:
		return api.Errorf(api.CodeDisk, "no space left for images").WithCause(err).
			WithHint("hearth image rm NAME drops images; or free space on the disk that holds the state folder")
	}
	return api.Errorf(api.CodeDisk, "the disk refused a part of an image").WithCause(fmt.Errorf("image store: %w", err)).
		WithHint("check the disk that holds the state folder: space, permissions and kernel messages")
}
