package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/durable"
)

// files is the folder. What has its last name is whole and on the disk.
//
//	new/…                           being written
//	blobs/AB/ABCDEF…                content by digest, manifests too
//	repos/NS/NAME/blobs/DIGEST      the repository has this blob
//	repos/NS/NAME/manifests/DIGEST  … this manifest: a JSON link
//	repos/NS/NAME/tags/TAG          … under this tag: a JSON link
//
// A blob is kept once, but only a repository it was sent to, or mounted into by
// somebody who may read it elsewhere, hands it out.
type files struct {
	dir string
	// sweep is held for writing while content nobody needs is dropped, and for
	// reading from the look for a blob until something names it.
	sweep sync.RWMutex
	mu    sync.Mutex
	known map[string]bool // folders that are on the disk
}

// link is what a manifest's or tag's file says.
type link struct {
	Digest    string    `json:"digest"`
	MediaType string    `json:"mediaType"`
	Size      int64     `json:"size"`
	Time      time.Time `json:"time"`
	Subject   string    `json:"subject,omitempty"` // digest it tells something about
}

func openFiles(dir string) (*files, error) {
	f := &files{dir: dir, known: map[string]bool{}}
	if err := os.RemoveAll(f.at("new")); err != nil {
		return nil, problem(err)
	}
	for _, d := range []string{"new", "blobs", "repos"} {
		if err := os.MkdirAll(f.at(d), 0o700); err != nil {
			return nil, problem(err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := durable.SyncFolder(d); err != nil {
			return nil, problem(err)
		}
	}
	return f, nil
}

func (f *files) at(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

func (f *files) content(d digest) string { return f.at("blobs", string(d[:2]), string(d)) }

func (f *files) repo(n name, more ...string) string {
	return f.at(append(append([]string{"repos"}, n.folder()...), more...)...)
}

// place moves a written and synced file to its last name, durably.
func (f *files) place(from, to string) error {
	if err := f.folder(filepath.Dir(to)); err != nil {
		return err
	}
	return problem(durable.Rename(from, to))
}

// folder makes a folder and those above, each on the disk.
func (f *files) folder(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return problem(f.make(dir))
}

func (f *files) make(dir string) error {
	if dir == f.dir || f.known[dir] {
		if _, err := os.Lstat(dir); err == nil {
			return nil
		}
	}
	if err := f.make(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := durable.Mkdir(dir); err != nil {
		return err
	}
	f.known[dir] = true
	return nil
}

// write writes a small file durably.
func (f *files) write(to string, data []byte) error {
	t, err := os.CreateTemp(f.at("new"), "small-")
	if err != nil {
		return problem(err)
	}
	defer os.Remove(t.Name()) // after the rename there is nothing to remove
	_, err = t.Write(data)
	if err := errors.Join(err, t.Sync(), t.Close()); err != nil {
		return problem(err)
	}
	return f.place(t.Name(), to)
}

func (f *files) writeLink(to string, l link) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return f.write(to, data)
}

// readLink reads a link; false means there is none.
func (f *files) readLink(path string) (l link, ok bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return l, false, nil
	}
	if err != nil {
		return l, false, problem(err)
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, false, problem(fmt.Errorf("%s: %w", path, err))
	}
	return l, true, nil
}

// has reports whether the repository has the blob, and its size.
func (f *files) has(n name, d digest) (int64, bool) {
	if _, err := os.Lstat(f.repo(n, "blobs", string(d))); err != nil {
		return 0, false
	}
	st, err := os.Lstat(f.content(d))
	if err != nil {
		return 0, false
	}
	return st.Size(), true
}

// claim notes that the repository has a blob, whose content is there.
func (f *files) claim(n name, d digest) error {
	to := f.repo(n, "blobs", string(d))
	if _, err := os.Lstat(to); err == nil {
		now := time.Now() // it is young again, for the sweep
		return problem(os.Chtimes(to, now, now))
	}
	return f.write(to, nil)
}

// put keeps a small content and returns its digest.
func (f *files) put(data []byte) (digest, error) {
	sum := sha256.Sum256(data)
	d := digest(hex.EncodeToString(sum[:]))
	return d, f.write(f.content(d), data)
}

func remove(path string) (was bool, err error) {
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, problem(err)
	}
	return true, problem(durable.SyncFolder(filepath.Dir(path)))
}

// names lists a folder; one that is missing is empty.
func names(dir string) ([]string, error) {
	es, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, problem(err)
	}
	var all []string
	for _, e := range es {
		if !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name())
		}
	}
	return all, nil
}

// problem turns an error of the disk into one of ours.
func problem(err error) error {
	refused, full := durable.Refused(err)
	switch {
	case !refused:
		return err
	case full:
		return api.Errorf(api.CodeDisk, "no space left for images").WithCause(err)
	}
	return api.Errorf(api.CodeDisk, "the disk refused a part of an image").WithCause(err)
}
