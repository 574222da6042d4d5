package registry_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	gname "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/hearth-run/hearth/control/registry"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/token"
)

// server is a registry over HTTP with a token for each of some callers.
type server struct {
	*httptest.Server
	t      *testing.T
	reg    *registry.Registry
	dir    string
	tokens map[string]string
	prov   *token.Tokens
}

func serve(t *testing.T, change func(*registry.Options)) *server {
	t.Helper()
	s := &server{t: t, dir: filepath.Join(t.TempDir(), "registry"), tokens: map[string]string{}}
	var err error
	if s.prov, err = token.Open(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []identity.Caller{
		{Name: "root", Roles: []string{identity.RoleAdmin}},
		{Name: "ada", Roles: []string{identity.RoleEditor}, Namespaces: []string{"shop"}},
		{Name: "bob", Roles: []string{identity.RoleEditor}, Namespaces: []string{"bank"}},
		{Name: "eve", Roles: []string{identity.RoleViewer}, Namespaces: []string{"shop"}},
	} {
		if s.tokens[c.Name], err = s.prov.Issue(t.Context(), c, 0); err != nil {
			t.Fatal(err)
		}
	}
	o := registry.Options{Dir: s.dir, Identity: s.prov}
	if change != nil {
		change(&o)
	}
	if s.reg, err = registry.Open(o); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(s.reg)
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) ref(repo string) gname.Reference {
	s.t.Helper()
	r, err := gname.ParseReference(s.host() + "/" + repo)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *server) as(who string) remote.Option {
	return remote.WithAuth(&authn.Basic{Username: "hearth", Password: s.tokens[who]})
}

// do sends a request as who and returns status, headers and body.
func (s *server) do(who, method, path, body string, header ...string) (int, http.Header, string) {
	s.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = s.URL + path
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+s.tokens[who])
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func sum(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(3000, 3)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPushPull(t *testing.T) {
	s := serve(t, nil)
	img := randomImage(t)
	oci := mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: oci}, mutate.IndexAddendum{Add: randomImage(t)})
	for repo, push := range map[string]func(r gname.Reference) error{
		"shop/docker:v1":      func(r gname.Reference) error { return remote.Write(r, img, s.as("ada")) },
		"shop/deep/er/oci:v1": func(r gname.Reference) error { return remote.Write(r, oci, s.as("ada")) },
		"shop/index:v1":       func(r gname.Reference) error { return remote.WriteIndex(r, index, s.as("ada")) },
	} {
		r := s.ref(repo)
		if err := push(r); err != nil {
			t.Fatalf("%s: %v", repo, err)
		}
		// Once more: everything is there.
		if err := push(r); err != nil {
			t.Fatalf("%s again: %v", repo, err)
		}
		d, err := remote.Get(r, s.as("eve"))
		if err != nil {
			t.Fatalf("%s: %v", repo, err)
		}
		if d.MediaType.IsIndex() {
			x, err := d.ImageIndex()
			if err != nil {
				t.Fatal(err)
			}
			err = validate.Index(x)
			if err != nil {
				t.Errorf("%s: %v", repo, err)
			}
			continue
		}
		got, err := d.Image()
		if err == nil {
			err = validate.Image(got)
		}
		if err != nil {
			t.Errorf("%s: %v", repo, err)
		}
	}
	if tags, err := remote.List(s.ref("shop/docker").Context(), s.as("eve")); err != nil || !slices.Equal(tags, []string{"v1"}) {
		t.Errorf("tags %v %v", tags, err)
	}
	all, err := remote.Catalog(t.Context(), s.ref("shop/docker").Context().Registry, s.as("eve"))
	if err != nil || !slices.Equal(all, []string{"shop/deep/er/oci", "shop/docker", "shop/index"}) {
		t.Errorf("catalog %v %v", all, err)
	}
	if all, err := remote.Catalog(t.Context(), s.ref("shop/docker").Context().Registry, s.as("bob")); err != nil || len(all) != 0 {
		t.Errorf("another tenant's catalog %v %v", all, err)
	}
	// What was acknowledged is there after a restart.
	again, err := registry.Open(registry.Options{Dir: s.dir, Identity: s.prov})
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler = again
	if got, err := remote.Image(s.ref("shop/docker:v1"), s.as("eve")); err != nil || validate.Image(got) != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := remote.Delete(s.ref("shop/docker:v1"), s.as("ada")); err != nil {
		t.Error(err)
	}
	if _, err := remote.Get(s.ref("shop/docker:v1"), s.as("eve")); err == nil {
		t.Error("a deleted tag is there")
	}
}

// TestAccess: who may do what, and that a digest alone opens nothing.
func TestAccess(t *testing.T) {
	s := serve(t, func(o *registry.Options) {
		o.Exists = func(_ context.Context, ns string) (bool, error) { return ns == "shop" || ns == "bank", nil }
	})
	img := randomImage(t)
	if err := remote.Write(s.ref("shop/a:1"), img, s.as("ada")); err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := img.Digest()
	blob := m.Layers[0].Digest.String()
	for _, c := range []struct {
		who, method, path string
		status            int
	}{
		{"", "GET", "/v2/", 401},
		{"nobody", "GET", "/v2/", 401},
		{"eve", "GET", "/v2/", 200},
		{"eve", "GET", "/v2/shop/a/manifests/1", 200},
		{"eve", "HEAD", "/v2/shop/a/manifests/" + d.String(), 200},
		{"eve", "GET", "/v2/shop/a/blobs/" + blob, 200},
		{"eve", "GET", "/v2/shop/a/tags/list", 200},
		{"eve", "POST", "/v2/shop/a/blobs/uploads/", 403},
		{"eve", "PUT", "/v2/shop/a/manifests/2", 403},
		{"eve", "DELETE", "/v2/shop/a/manifests/1", 403},
		{"eve", "DELETE", "/v2/shop/a/blobs/" + blob, 403},
		{"bob", "GET", "/v2/shop/a/manifests/1", 403},
		{"bob", "GET", "/v2/shop/a/blobs/" + blob, 403},
		{"bob", "GET", "/v2/shop/a/tags/list", 403},
		{"bob", "GET", "/v2/bank/a/blobs/" + blob, 404},
		{"bob", "GET", "/v2/bank/a/manifests/" + d.String(), 404},
		// Another's blob is not mounted; an upload is begun instead.
		{"bob", "POST", "/v2/bank/a/blobs/uploads/?mount=" + blob + "&from=shop/a", 202},
		{"root", "POST", "/v2/bank/a/blobs/uploads/?mount=" + blob + "&from=shop/a", 201},
		{"bob", "GET", "/v2/bank/a/blobs/" + blob, 200},
		{"root", "POST", "/v2/nowhere/a/blobs/uploads/", 404},
		{"ada", "DELETE", "/v2/shop/a/manifests/" + d.String(), 202},
		{"ada", "GET", "/v2/shop/a/manifests/1", 404},
	} {
		status, h, body := s.do(c.who, c.method, c.path, "")
		if status != c.status {
			t.Errorf("%s %s %s: %d %s, want %d", c.who, c.method, c.path, status, body, c.status)
		}
		if status == 401 && !strings.HasPrefix(h.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("the challenge is %q", h.Get("WWW-Authenticate"))
		}
		if status >= 400 && c.method != "HEAD" {
			var e struct {
				Errors []struct{ Code, Message string }
			}
			if json.Unmarshal([]byte(body), &e) != nil || len(e.Errors) != 1 || e.Errors[0].Code == "" || e.Errors[0].Message == "" {
				t.Errorf("%s %s: the error is %s", c.method, c.path, body)
			}
		}
	}
	// This process reads without credentials, and does no more.
	rec := httptest.NewRecorder()
	s.reg.Reader().ServeHTTP(rec, httptest.NewRequest("GET", "/v2/bank/a/blobs/"+blob, nil))
	if rec.Code != 200 {
		t.Errorf("the reader got %d", rec.Code)
	}
	rec = httptest.NewRecorder()
	s.reg.Reader().ServeHTTP(rec, httptest.NewRequest("DELETE", "/v2/bank/a/blobs/"+blob, nil))
	if rec.Code != 403 {
		t.Errorf("the reader may delete: %d", rec.Code)
	}
}

// TestUploads: the ways to send a blob.
func TestUploads(t *testing.T) {
	s := serve(t, func(o *registry.Options) { o.BlobLimit = 100 })
	begin := func() string {
		t.Helper()
		status, h, body := s.do("ada", "POST", "/v2/shop/u/blobs/uploads/", "")
		if status != 202 || h.Get("Location") == "" || h.Get("Range") != "0-0" {
			t.Fatalf("%d %v %s", status, h, body)
		}
		return h.Get("Location")
	}
	want := func(content string) {
		t.Helper()
		if status, h, got := s.do("ada", "GET", "/v2/shop/u/blobs/"+sum(content), ""); status != 200 || got != content || h.Get("Docker-Content-Digest") != sum(content) {
			t.Errorf("%d %q %v", status, got, h)
		}
	}
	put := func(url, digest string) string { return url + "?digest=" + digest }

	status, h, body := s.do("ada", "POST", "/v2/shop/u/blobs/uploads/?digest="+sum("at once"), "at once")
	if status != 201 || h.Get("Location") != "/v2/shop/u/blobs/"+sum("at once") {
		t.Errorf("%d %v %s", status, h, body)
	}
	want("at once")

	u := begin()
	if status, _, body := s.do("ada", "PUT", put(u, sum("two steps")), "two steps"); status != 201 {
		t.Errorf("%d %s", status, body)
	}
	want("two steps")

	u = begin()
	if status, h, body := s.do("ada", "PATCH", u, "one ", "Content-Range", "0-3"); status != 202 || h.Get("Range") != "0-3" {
		t.Errorf("%d %v %s", status, h, body)
	}
	if status, h, _ := s.do("ada", "PATCH", u, "one ", "Content-Range", "0-3"); status != 416 || h.Get("Range") != "0-3" {
		t.Errorf("the same chunk again: %d %v", status, h)
	}
	if status, h, _ := s.do("ada", "GET", u, ""); status != 204 || h.Get("Range") != "0-3" {
		t.Errorf("%d %v", status, h)
	}
	if status, _, _ := s.do("ada", "PATCH", u, "two ", "Content-Range", "4-7"); status != 202 {
		t.Error(status)
	}
	if status, _, body := s.do("ada", "PUT", put(u, sum("one two three")), "three", "Content-Range", "8-12"); status != 201 {
		t.Errorf("%d %s", status, body)
	}
	want("one two three")
	if status, _, _ := s.do("ada", "GET", u, ""); status != 404 {
		t.Errorf("the ended upload: %d", status)
	}
	if status, h, got := s.do("ada", "GET", "/v2/shop/u/blobs/"+sum("one two three"), "", "Range", "bytes=4-"); status != 206 || got != "two three" {
		t.Errorf("a part: %d %v %q", status, h, got)
	}

	for name, c := range map[string]struct {
		digest, body string
		status       int
	}{
		"wrong digest":     {sum("other"), "content", 400},
		"no digest":        {"", "content", 400},
		"other algorithm":  {"sha512:" + strings.Repeat("a", 128), "content", 400},
		"a path":           {"sha256:../../../../etc/passwd", "content", 400},
		"more than may be": {sum(strings.Repeat("x", 101)), strings.Repeat("x", 101), 413},
	} {
		if status, _, body := s.do("ada", "PUT", put(begin(), c.digest), c.body); status != c.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if status, _, _ := s.do("ada", "HEAD", "/v2/shop/u/blobs/"+sum(c.body), ""); status != 404 {
			t.Errorf("%s: the content is kept", name)
		}
	}
	u = begin()
	if status, _, _ := s.do("ada", "DELETE", u, ""); status != 204 {
		t.Error(status)
	}
	if status, _, _ := s.do("ada", "PUT", put(u, sum("x")), "x"); status != 404 {
		t.Errorf("a canceled upload: %d", status)
	}
	u = strings.Replace(begin(), "shop/u", "shop/other", 1)
	if status, _, _ := s.do("ada", "PUT", put(u, sum("x")), "x"); status != 404 {
		t.Errorf("another repository's upload: %d", status)
	}
}

func TestManifests(t *testing.T) {
	s := serve(t, nil)
	for _, c := range []string{"{}", "layer"} {
		s.do("ada", "POST", "/v2/shop/m/blobs/uploads/?digest="+sum(c), c)
	}
	const oci = "application/vnd.oci.image.manifest.v1+json"
	good := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x","digest":%q,"size":2},"layers":[{"mediaType":"y","digest":%q,"size":5}]}`, oci, sum("{}"), sum("layer"))
	about := strings.Replace(good, `"schemaVersion":2`, `"schemaVersion":2,"artifactType":"sbom","subject":{"digest":"`+sum(good)+`","size":1,"mediaType":"`+oci+`"}`, 1)
	for _, c := range []struct {
		name, ref, kind, body string
		status                int
	}{
		{"good", "v1", oci, good, 201},
		{"by digest", sum(good), oci, good, 201},
		{"by another digest", sum("x"), oci, good, 400},
		{"other kind", "v1", "application/vnd.docker.distribution.manifest.v2+json", good, 400},
		{"odd kind", "v1", "text/html", strings.ReplaceAll(good, oci, "text/html"), 400},
		{"no JSON", "v1", oci, "hello", 400},
		{"bad tag", "-v1", oci, good, 400},
		{"a path", "..%2f..%2fx", oci, good, 404},
		{"missing layer", "v1", oci, strings.Replace(good, sum("layer"), sum("x"), 1), 404},
		{"wrong size", "v1", oci, strings.Replace(good, `"size":5`, `"size":6`, 1), 400},
		{"no config", "v1", oci, `{"schemaVersion":2}`, 400},
		{"index of nothing there", "v1", "application/vnd.oci.image.index.v1+json", `{"manifests":[{"digest":"` + sum("x") + `"}]}`, 404},
		{"index", "ix", "application/vnd.oci.image.index.v1+json", `{"manifests":[{"digest":"` + sum(good) + `"}]}`, 201},
		{"endless", "v1", oci, strings.Repeat(" ", 5<<20), 413},
		{"about another", sum(about), oci, about, 201},
	} {
		if status, _, body := s.do("ada", "PUT", "/v2/shop/m/manifests/"+c.ref, c.body, "Content-Type", c.kind); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.status)
		}
	}
	status, h, body := s.do("eve", "GET", "/v2/shop/m/manifests/v1", "")
	if status != 200 || body != good || h.Get("Content-Type") != oci || h.Get("Docker-Content-Digest") != sum(good) {
		t.Errorf("%d %v %s", status, h, body)
	}
	var list struct {
		Manifests []struct{ Digest, ArtifactType string }
	}
	_, h, body = s.do("eve", "GET", "/v2/shop/m/referrers/"+sum(good)+"?artifactType=sbom", "")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Manifests) != 1 || list.Manifests[0].Digest != sum(about) || h.Get("OCI-Filters-Applied") == "" {
		t.Errorf("referrers: %v %s", h, body)
	}
	// Lists go on where they ended.
	for _, tag := range []string{"a", "b", "c"} {
		s.do("ada", "PUT", "/v2/shop/m/manifests/"+tag, good, "Content-Type", oci)
	}
	var got []string
	for path := "/v2/shop/m/tags/list?n=2"; path != ""; {
		var page struct{ Tags []string }
		_, h, body := s.do("eve", "GET", path, "")
		if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Tags) > 2 {
			t.Fatal(body, err)
		}
		got = append(got, page.Tags...)
		path, _, _ = strings.Cut(strings.TrimPrefix(h.Get("Link"), "<"), ">")
	}
	if !slices.Equal(got, []string{"a", "b", "c", "ix", "v1"}) {
		t.Error(got)
	}
	// Without its manifest there are no tags.
	s.do("ada", "DELETE", "/v2/shop/m/manifests/"+sum(good), "")
	if status, _, body := s.do("eve", "GET", "/v2/shop/m/tags/list", ""); status != 200 || !strings.Contains(body, `["ix"]`) {
		t.Errorf("%d %s", status, body)
	}
}

func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/v2/", "/v2/shop/a/blobs/uploads/", "/v2/shop/blobs/uploads/manifests/x", "/v2/shop/../../x/tags/list", "/v2/shop/a/manifests/..%2f..", "/v2/a/b/blobs/sha256:x", "/v2//a/tags/list"} {
		f.Add("GET", p)
		f.Add("PUT", p)
	}
	dir := filepath.Join(f.TempDir(), "x", "registry")
	tokens, err := token.Open(filepath.Join(f.TempDir(), "key"))
	if err != nil {
		f.Fatal(err)
	}
	secret, err := tokens.Issue(f.Context(), identity.Caller{Name: "root", Roles: []string{identity.RoleAdmin}}, 0)
	if err != nil {
		f.Fatal(err)
	}
	g, err := registry.Open(registry.Options{Dir: dir, Identity: tokens})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		req, err := http.NewRequest(method, "http://x"+path, strings.NewReader("{}"))
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		rec := httptest.NewRecorder()
		g.ServeHTTP(rec, req)
		if rec.Code >= 500 {
			t.Errorf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
		if es, _ := os.ReadDir(filepath.Dir(dir)); len(es) != 1 {
			t.Errorf("%s %s wrote outside", method, path)
		}
	})
}
