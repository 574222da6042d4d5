package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pause is how long an upload may stand still.
const pause = time.Minute

// uploads are the blobs being sent. They end with the process: a client that
// finds its upload gone begins it again.
type uploads struct {
	files *files
	limit int64
	mu    sync.Mutex
	all   map[string]*upload
}

// upload is one of them, for one repository.
type upload struct {
	id   string
	in   name
	mu   sync.Mutex
	file *os.File // nil: it has ended
	h    hash.Hash
	size int64
	last time.Time
}

func newUploads(f *files, limit int64) *uploads {
	return &uploads{files: f, limit: limit, all: map[string]*upload{}}
}

func (u *uploads) begin(in name) (*upload, error) {
	f, err := os.CreateTemp(u.files.at("new"), "upload-")
	if err != nil {
		return nil, problem(err)
	}
	up := &upload{id: rand.Text(), in: in, file: f, h: sha256.New(), last: time.Now()}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all[up.id] = up
	return up, nil
}

func (u *uploads) find(in name, id string) (*upload, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up, ok := u.all[id]
	if !ok || up.in != in {
		return nil, &failure{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; begin it again"}
	}
	return up, nil
}

// end forgets an upload and removes its file. The caller holds up.mu.
func (u *uploads) end(up *upload) {
	u.mu.Lock()
	delete(u.all, up.id)
	u.mu.Unlock()
	if up.file != nil {
		_ = up.file.Close()
		_ = os.Remove(up.file.Name())
		up.file = nil
	}
}

// expire ends uploads that stood still for so long.
func (u *uploads) expire(age time.Duration) {
	u.mu.Lock()
	var old []*upload
	for _, up := range u.all {
		old = append(old, up)
	}
	u.mu.Unlock()
	for _, up := range old {
		if up.mu.TryLock() { // else something comes just now
			if time.Since(up.last) > age {
				u.end(up)
			}
			up.mu.Unlock()
		}
	}
}

// upload serves the ways to send a blob: at once, in chunks, or by naming a
// repository that has it.
func (g *Registry) upload(c *call, id string) error {
	if id == "" {
		if c.r.Method != http.MethodPost {
			return errMethod(c.r)
		}
		return g.beginUpload(c)
	}
	up, err := g.uploads.find(c.in, id)
	if err != nil {
		return err
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.file == nil {
		return &failure{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the upload has ended"}
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		up.locate(c.w)
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		if err := g.append(c, up); err != nil {
			return err
		}
		up.locate(c.w)
		c.w.WriteHeader(http.StatusAccepted)
		return nil
	case http.MethodPut:
		return g.finish(c, up)
	case http.MethodDelete:
		g.uploads.end(up)
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return errMethod(c.r)
}

func (up *upload) locate(w http.ResponseWriter) {
	w.Header().Set("Location", "/v2/"+up.in.String()+"/blobs/uploads/"+up.id)
	w.Header().Set("Docker-Upload-UUID", up.id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, up.size-1)))
}

func (g *Registry) beginUpload(c *call) error {
	q := c.r.URL.Query()
	if err := g.exists(c.r.Context(), c.in.namespace); err != nil {
		return err
	}
	if from := q.Get("mount"); from != "" {
		if ok, err := g.mount(c, from, q.Get("from")); err != nil || ok {
			return err
		}
	}
	up, err := g.uploads.begin(c.in)
	if err != nil {
		return err
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if q.Get("digest") != "" {
		return g.finish(c, up)
	}
	up.locate(c.w)
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// mount gives the repository a blob another one has, if the caller may read it
// there. Where that cannot be the client sends it.
func (g *Registry) mount(c *call, mount, from string) (bool, error) {
	d, err := parseDigest(mount)
	if err != nil {
		return false, err
	}
	source := c.in
	if from != "" {
		if source, err = parseName(from); err != nil {
			return false, err
		}
	}
	if c.may("get", source) != nil {
		return false, nil // nor is said whether it has it
	}
	g.files.sweep.RLock()
	defer g.files.sweep.RUnlock()
	if _, ok := g.files.has(source, d); !ok {
		return false, nil
	}
	if err := g.files.claim(c.in, d); err != nil {
		return false, err
	}
	created(c, d)
	return true, nil
}

func created(c *call, d digest) {
	c.w.Header().Set("Location", "/v2/"+c.in.String()+"/blobs/"+d.String())
	c.w.Header().Set("Docker-Content-Digest", d.String())
	c.w.WriteHeader(http.StatusCreated)
}

// append adds the request's body to an upload. One that breaks leaves what
// came, and the client goes on from there.
func (g *Registry) append(c *call, up *upload) error {
	if cr := c.r.Header.Get("Content-Range"); cr != "" {
		first, last, ok := strings.Cut(strings.TrimPrefix(cr, "bytes "), "-")
		from, err1 := strconv.ParseInt(first, 10, 64)
		to, err2 := strconv.ParseInt(strings.Split(last, "/")[0], 10, 64)
		if !ok || err1 != nil || err2 != nil || from != up.size || c.r.ContentLength >= 0 && to-from+1 != c.r.ContentLength {
			up.locate(c.w)
			return &failure{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", fmt.Sprintf("the upload goes on at byte %d", up.size)}
		}
	}
	defer func() { up.last = time.Now() }()
	in := &steady{r: c.r.Body, rc: http.NewResponseController(c.w)}
	n, err := io.Copy(io.MultiWriter(up.file, up.h), io.LimitReader(in, g.uploads.limit-up.size+1))
	up.size += n
	switch {
	case up.size > g.uploads.limit:
		g.uploads.end(up)
		return &failure{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a blob may have %d bytes", g.uploads.limit)}
	case in.err != nil:
		// The file may have more than was counted: an upload that goes on must
		// not build on it.
		if st, e := up.file.Stat(); e != nil || st.Size() != up.size {
			g.uploads.end(up)
		}
		return &failure{http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the body ended too early"}
	case err != nil:
		g.uploads.end(up)
		return problem(err)
	}
	return nil
}

// finish takes the last bytes, verifies the digest and keeps the blob.
func (g *Registry) finish(c *call, up *upload) error {
	d, err := parseDigest(c.r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	if err := g.append(c, up); err != nil {
		if c.r.Method == http.MethodPost {
			g.uploads.end(up) // nobody knows its address
		}
		return err
	}
	defer g.uploads.end(up)
	if got := hex.EncodeToString(up.h.Sum(nil)); got != string(d) {
		return &failure{http.StatusBadRequest, "DIGEST_INVALID", "the content has the digest sha256:" + got + ", not " + d.String()}
	}
	if err := errors.Join(up.file.Sync(), up.file.Close()); err != nil {
		return problem(err)
	}
	g.files.sweep.RLock()
	defer g.files.sweep.RUnlock()
	// Content that is there already is replaced: it mends a damaged file.
	if err := g.files.place(up.file.Name(), g.files.content(d)); err != nil {
		return err
	}
	up.file = nil // there is nothing to remove
	if err := g.files.claim(c.in, d); err != nil {
		return err
	}
	created(c, d)
	return nil
}

// exists refuses a namespace that is not there.
func (g *Registry) exists(ctx context.Context, namespace string) error {
	if g.o.Exists == nil {
		return nil
	}
	ok, err := g.o.Exists(ctx, namespace)
	if err == nil && !ok {
		return &failure{http.StatusNotFound, "NAME_UNKNOWN", "there is no tenant " + namespace + "; repositories are NAMESPACE/NAME"}
	}
	return err
}

// steady reads a body whose sender may be slow but not still.
type steady struct {
	r   io.Reader
	rc  *http.ResponseController
	err error
}

func (s *steady) Read(p []byte) (int, error) {
	_ = s.rc.SetReadDeadline(time.Now().Add(pause)) // in process there is none
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	if err != nil {
		_ = s.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
