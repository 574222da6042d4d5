package registry

import (
	"net/http"
	"os"
	"time"
)

// blob serves one blob of a repository.
func (g *Registry) blob(c *call, arg string) error {
	d, err := parseDigest(arg)
	if err != nil {
		return err
	}
	_, ok := g.files.has(c.in, d)
	if !ok {
		return &failure{http.StatusNotFound, "BLOB_UNKNOWN", c.in.String() + " has no blob " + d.String()}
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		if c.r.Method == http.MethodHead {
			// Who asks may count on it in what he sends next: it is young again.
			now := time.Now()
			_ = os.Chtimes(g.files.repo(c.in, "blobs", string(d)), now, now)
		}
		f, err := os.Open(g.files.content(d))
		if err != nil {
			return problem(err)
		}
		defer f.Close()
		h := c.w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Docker-Content-Digest", d.String())
		h.Set("ETag", `"`+d.String()+`"`)
		h.Set("Cache-Control", "max-age=31536000, immutable")
		http.ServeContent(c.w, c.r, "", time.Time{}, f)
		return nil
	case http.MethodDelete:
		if _, err := remove(g.files.repo(c.in, "blobs", string(d))); err != nil {
			return err
		}
		c.w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return errMethod(c.r)
}
