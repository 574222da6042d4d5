package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	manifestLimit = 4 << 20
	ociIndex      = "application/vnd.oci.image.index.v1+json"
	ociManifest   = "application/vnd.oci.image.manifest.v1+json"
	dockerList    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerV2      = "application/vnd.docker.distribution.manifest.v2+json"
)

// descriptor and manifest are what of them matters here.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	URLs         []string          `json:"urls,omitempty"`
}

type manifest struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *descriptor       `json:"config"`
	Layers       []descriptor      `json:"layers"`
	Manifests    []descriptor      `json:"manifests"`
	Subject      *descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

// manifest serves a manifest by tag or digest.
func (g *Registry) manifest(c *call, ref string) error {
	if isDigest(ref) {
		if _, err := parseDigest(ref); err != nil {
			return err
		}
	} else if !tagForm.MatchString(ref) {
		return &failure{http.StatusBadRequest, "TAG_INVALID", "a tag has up to 128 letters, digits, dots, dashes and underscores"}
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		return g.getManifest(c, ref)
	case http.MethodPut:
		return g.putManifest(c, ref)
	case http.MethodDelete:
		return g.deleteManifest(c, ref)
	}
	return errMethod(c.r)
}

// look finds what a tag or digest stands for in a repository.
func (g *Registry) look(n name, ref string) (link, error) {
	dir, file := "tags", ref
	if isDigest(ref) {
		dir, file = "manifests", ref[len("sha256:"):]
	}
	l, ok, err := g.files.readLink(g.files.repo(n, dir, file))
	if err == nil && !ok {
		err = &failure{http.StatusNotFound, "MANIFEST_UNKNOWN", n.String() + " has no image " + ref}
	}
	return l, err
}

func (g *Registry) getManifest(c *call, ref string) error {
	l, err := g.look(c.in, ref)
	if err != nil {
		return err
	}
	d, err := parseDigest(l.Digest)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(g.files.content(d))
	if err != nil {
		return problem(err)
	}
	h := c.w.Header()
	h.Set("Content-Type", l.MediaType)
	h.Set("Docker-Content-Digest", l.Digest)
	h.Set("ETag", `"`+l.Digest+`"`)
	h.Set("Last-Modified", l.Time.UTC().Format(http.TimeFormat))
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodGet {
		_, _ = c.w.Write(data)
	}
	return nil
}

// putManifest keeps a manifest whose parts are all there already.
func (g *Registry) putManifest(c *call, ref string) error {
	if err := g.exists(c.r.Context(), c.in.namespace); err != nil {
		return err
	}
	in := &steady{r: c.r.Body, rc: http.NewResponseController(c.w)}
	data, err := io.ReadAll(io.LimitReader(in, manifestLimit+1))
	if err != nil {
		return &failure{http.StatusBadRequest, "MANIFEST_INVALID", "the body ended too early"}
	}
	if len(data) > manifestLimit {
		return &failure{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a manifest may have %d bytes", manifestLimit)}
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return &failure{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest is not JSON of the right form"}
	}
	mediaType := c.r.Header.Get("Content-Type")
	if mediaType == "" {
		mediaType = m.MediaType
	}
	if m.MediaType != "" && m.MediaType != mediaType {
		return &failure{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest says it is " + m.MediaType + ", and the request " + mediaType}
	}
	switch mediaType {
	case ociIndex, ociManifest, dockerList, dockerV2:
	default:
		return &failure{http.StatusBadRequest, "MANIFEST_INVALID", "manifests of type " + mediaType + " are not kept here"}
	}
	g.files.sweep.RLock()
	defer g.files.sweep.RUnlock()
	if err := g.complete(c.in, m, mediaType); err != nil {
		return err
	}
	d, err := g.files.put(data)
	if err != nil {
		return err
	}
	if isDigest(ref) && ref != d.String() {
		return &failure{http.StatusBadRequest, "DIGEST_INVALID", "the manifest has the digest " + d.String() + ", not " + ref}
	}
	l := link{Digest: d.String(), MediaType: mediaType, Size: int64(len(data)), Time: time.Now().UTC()}
	if m.Subject != nil {
		l.Subject = m.Subject.Digest
		c.w.Header().Set("OCI-Subject", l.Subject)
	}
	if err := g.files.writeLink(g.files.repo(c.in, "manifests", string(d)), l); err != nil {
		return err
	}
	if !isDigest(ref) {
		if err := g.files.writeLink(g.files.repo(c.in, "tags", ref), l); err != nil {
			return err
		}
	}
	c.w.Header().Set("Location", "/v2/"+c.in.String()+"/manifests/"+d.String())
	c.w.Header().Set("Docker-Content-Digest", d.String())
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// complete refuses a manifest with a part the repository does not have.
func (g *Registry) complete(n name, m manifest, mediaType string) error {
	missing := func(what, digest string) error {
		return &failure{http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", n.String() + " has no " + what + " " + digest + ", which the manifest names"}
	}
	if mediaType == ociIndex || mediaType == dockerList {
		for _, d := range m.Manifests {
			hex, err := parseDigest(d.Digest)
			if err != nil {
				return err
			}
			if _, ok, err := g.files.readLink(g.files.repo(n, "manifests", string(hex))); err != nil {
				return err
			} else if !ok {
				return missing("manifest", d.Digest)
			}
		}
		return nil
	}
	if m.Config == nil {
		return &failure{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest names no configuration"}
	}
	for _, d := range append([]descriptor{*m.Config}, m.Layers...) {
		hex, err := parseDigest(d.Digest)
		if err != nil {
			return err
		}
		if len(d.URLs) > 0 {
			continue // kept elsewhere, by its nature
		}
		size, ok := g.files.has(n, hex)
		if !ok {
			return missing("blob", d.Digest)
		}
		if size != d.Size {
			return &failure{http.StatusBadRequest, "SIZE_INVALID", fmt.Sprintf("blob %s has %d bytes, and the manifest says %d", d.Digest, size, d.Size)}
		}
	}
	return nil
}

// deleteManifest drops a tag; or a manifest, with every tag that leads to it.
func (g *Registry) deleteManifest(c *call, ref string) error {
	l, err := g.look(c.in, ref)
	if err != nil {
		return err
	}
	if isDigest(ref) {
		tags, err := names(g.files.repo(c.in, "tags"))
		if err != nil {
			return err
		}
		for _, t := range tags {
			path := g.files.repo(c.in, "tags", t)
			if x, ok, err := g.files.readLink(path); err != nil {
				return err
			} else if ok && x.Digest == l.Digest {
				if _, err := remove(path); err != nil {
					return err
				}
			}
		}
		ref = filepath.Join("..", "manifests", ref[len("sha256:"):])
	}
	if _, err := remove(g.files.repo(c.in, "tags", ref)); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// referrers lists the manifests that tell something about another.
func (g *Registry) referrers(c *call, arg string) error {
	d, err := parseDigest(arg)
	if err != nil {
		return err
	}
	all, err := names(g.files.repo(c.in, "manifests"))
	if err != nil {
		return err
	}
	kind := c.r.URL.Query().Get("artifactType")
	list := []descriptor{}
	for _, hex := range all {
		l, ok, err := g.files.readLink(g.files.repo(c.in, "manifests", hex))
		if err != nil {
			return err
		}
		if !ok || l.Subject != d.String() {
			continue
		}
		m, err := g.read(digest(hex))
		if err != nil {
			return err
		}
		x := descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, ArtifactType: m.ArtifactType, Annotations: m.Annotations}
		if x.ArtifactType == "" && m.Config != nil {
			x.ArtifactType = m.Config.MediaType
		}
		if kind == "" || kind == x.ArtifactType {
			list = append(list, x)
		}
	}
	if kind != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return answerAs(c.w, http.StatusOK, ociIndex, map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
}

// read reads a manifest that is kept.
func (g *Registry) read(d digest) (m manifest, err error) {
	data, err := os.ReadFile(g.files.content(d))
	if err != nil {
		return m, problem(err)
	}
	return m, json.Unmarshal(data, &m)
}
