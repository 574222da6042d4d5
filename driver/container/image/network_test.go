package image_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/container/image"
)

// TestAuth: registries that ask for a name and password, at once or by a token.
func TestAuth(t *testing.T) {
	const user, password = "ada", "p:ss"
	for _, kind := range []string{"basic", "bearer"} {
		t.Run(kind, func(t *testing.T) {
			h := newHub(t)
			ref := h.push(t, imageOf(t, layerOf(t, entries{file("a", "a")}.archive(t), types.OCILayer)), "team/x:1")
			secret := func(match, user, password string) image.Credential {
				text := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, match, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
				cs, err := image.ParseDockerConfig([]byte(text))
				if err != nil || len(cs) != 1 {
					t.Fatal(cs, err)
				}
				return cs[0]
			}
			h.on(func(w http.ResponseWriter, r *http.Request) bool {
				u, p, ok := r.BasicAuth()
				in := ok && u == user && p == password
				if r.URL.Path == "/token" {
					if !in {
						w.WriteHeader(http.StatusUnauthorized)
					} else if r.URL.Query().Get("scope") == "repository:team/x:pull" {
						io.WriteString(w, `{"token": "let-in"}`)
					} else {
						io.WriteString(w, `{"token": "for another repository"}`)
					}
					return true
				}
				challenge := `Basic realm="x"`
				if kind == "bearer" {
					in = r.Header.Get("Authorization") == "Bearer let-in"
					challenge = `Bearer realm="` + h.URL + `/token",service="x"`
				}
				if !in {
					w.Header().Set("WWW-Authenticate", challenge)
					w.WriteHeader(http.StatusUnauthorized)
				}
				return !in
			})
			right, wrong := secret(h.host(), user, password), secret(h.host()+"/team", user, "other")
			elsewhere := secret("example.com", user, password)
			for name, c := range map[string]struct {
				creds []image.Credential
				in    bool
			}{
				"nothing":                {nil, false},
				"wrong":                  {[]image.Credential{wrong}, false},
				"right":                  {[]image.Credential{right}, true},
				"of another registry":    {[]image.Credential{elsewhere}, false},
				"a better fit is wrong":  {[]image.Credential{wrong, right}, true},
				"right for another path": {[]image.Credential{secret(h.host()+"/other", user, password)}, false},
			} {
				t.Run(name, func(t *testing.T) {
					s := open(t, image.Options{})
					a := image.Auth{Namespace: "shop", Credentials: c.creds}
					i, err := s.Fetch(t.Context(), ref, a)
					if !c.in {
						if e := api.AsError(err); e == nil || e.Code != api.CodeForbidden || !strings.Contains(e.Help(), "imagePullSecrets") || strings.Contains(err.Error(), password) {
							t.Errorf("%v", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					defer i.Release()
					// What one tenant was let in to, another is not, although it is here.
					by := strings.TrimSuffix(ref, ":1") + "@" + i.Digest
					if j, err := s.Fetch(t.Context(), by, image.Auth{Namespace: "bank"}); !api.IsCode(err, api.CodeForbidden) {
						t.Errorf("another tenant got the image: %v %v", j, err)
					}
					a.Namespace = "bank"
					j, err := s.Fetch(t.Context(), by, a)
					if err != nil {
						t.Fatal(err)
					}
					j.Release()
					j, err = s.Fetch(t.Context(), by, image.Auth{Namespace: "bank"})
					if err != nil {
						t.Fatalf("a tenant that was let in before: %v", err)
					}
					j.Release()
				})
			}
		})
	}
}

// TestBroken: downloads that break, stall, or bring something else.
func TestBroken(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 20_000)
	img := imageOf(t, layerOf(t, entries{file("a", content)}.archive(t), types.OCIUncompressedLayer))
	ls, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := ls[0].Digest()
	rc, _ := ls[0].Compressed()
	blob, _ := io.ReadAll(rc)
	serve := func(w http.ResponseWriter, r *http.Request, b []byte) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b)))
	}
	flipped := append([]byte{}, blob...)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		answer func(n int64, w http.ResponseWriter, r *http.Request)
		code   api.Code // none: it works in the end
		most   int64    // requests
		stall  time.Duration
	}{
		"ends early, goes on": {func(n int64, w http.ResponseWriter, r *http.Request) {
			if n <= 3 {
				if n > 1 && r.Header.Get("Range") == "" {
					t.Error("it begins anew")
				}
				http.ServeContent(&cut{w, 50_000}, r, "", time.Time{}, strings.NewReader(string(blob)))
				return
			}
			serve(w, r, blob)
		}, "", 4, 0},
		"ends early, no ranges": {func(n int64, w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			if n == 1 {
				w = &cut{w, 50_000}
			}
			serve(w, r, blob)
		}, "", 2, 0},
		"says it goes on, but does not": {func(n int64, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				serve(&cut{w, 50_000}, r, blob)
			} else if n == 2 {
				w.Header().Set("Content-Range", "bytes 0-")
				w.WriteHeader(http.StatusPartialContent)
				w.Write(blob)
			} else {
				serve(w, r, blob)
			}
		}, "", 3, 0},
		"parts of different files": {func(n int64, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				serve(&cut{w, int64(len(blob) - 1000)}, r, flipped)
				return
			}
			serve(w, r, blob)
		}, "", 3, 0},
		"stumbles": {func(n int64, w http.ResponseWriter, r *http.Request) {
			if n <= 2 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			serve(w, r, blob)
		}, "", 99, 0},
		"stalls": {func(n int64, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
				w.Write(blob[:1000])
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			serve(w, r, blob)
		}, "", 99, 2 * time.Second},
		"wrong bytes": {func(n int64, w http.ResponseWriter, r *http.Request) { serve(w, r, flipped) }, api.CodeChecksum, 2, 0},
		"too many":    {func(n int64, w http.ResponseWriter, r *http.Request) { serve(w, r, append(blob, 'x')) }, api.CodeChecksum, 2, 0},
		"always breaks": {func(n int64, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.WriteHeader(http.StatusOK)
		}, api.CodeUnreachable, 3, 0},
		"gone":      {func(n int64, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, api.CodeNotFound, 1, 0},
		"forbidden": {func(n int64, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, api.CodeForbidden, 1, 0},
		"sent into our network": {func(n int64, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
		}, api.CodeUnreachable, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			ref := h.push(t, img, "b/b:1")
			var n atomic.Int64
			h.on(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
					return false
				}
				c.answer(n.Add(1), w, r)
				return true
			})
			d := filepath.Join(t.TempDir(), "images")
			s := open(t, image.Options{Dir: d, Limits: image.Limits{Tries: 3, Stall: c.stall}})
			i, err := s.Fetch(t.Context(), ref, image.Auth{})
			if c.code == "" {
				if err != nil {
					t.Fatal(err, api.AsError(err).Cause)
				}
				defer i.Release()
				if got := tree(t, i)["a"]; got != content {
					t.Error("it has other content")
				}
				isEmpty(t, filepath.Join(d, "partial"))
			} else if !api.IsCode(err, c.code) {
				t.Errorf("%v %v, want %s", err, api.AsError(err), c.code)
			} else {
				isEmpty(t, filepath.Join(d, "new"), filepath.Join(d, "layers"), filepath.Join(d, "images"))
				if c.code == api.CodeChecksum {
					isEmpty(t, filepath.Join(d, "partial"))
				}
			}
			if n.Load() > c.most {
				t.Errorf("it was asked for %d times", n.Load())
			}
		})
	}
}

// cut ends a body after so many bytes, as a broken connection does.
type cut struct {
	http.ResponseWriter
	left int64
}

func (c *cut) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= int64(len(p))
	return c.ResponseWriter.Write(p)
}

// TestDamagedManifest: manifests that lie, are too large or none at all.
func TestDamagedManifest(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, imageOf(t, layerOf(t, entries{file("a", "a")}.archive(t), types.OCILayer)), "d/d:1")
	digest := "sha256:" + strings.Repeat("a", 64)
	layer := func(extra string) string {
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"` + digest + `"},"layers":[` + extra + `]}`
	}
	for name, c := range map[string]struct {
		ref, body string
		code      api.Code
	}{
		"of another digest": {strings.TrimSuffix(ref, ":1") + "@" + digest, layer(""), api.CodeChecksum},
		"no JSON":           {ref, "hello", api.CodeInvalid},
		"no config":         {ref, layer(""), api.CodeNotFound},
		"endless":           {ref, strings.Repeat(" ", 5<<20), api.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			h.on(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
				io.WriteString(w, c.body)
				return true
			})
			if _, err := open(t, image.Options{}).Fetch(t.Context(), c.ref, image.Auth{}); !api.IsCode(err, c.code) || api.AsError(err).Help() == "" {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestCollect(t *testing.T) {
	h := newHub(t)
	shared := layerOf(t, entries{file("shared", "s")}.archive(t), types.OCILayer)
	one := h.push(t, imageOf(t, shared, layerOf(t, entries{file("one", "1")}.archive(t), types.OCILayer)), "g/one:1")
	two := h.push(t, imageOf(t, shared, layerOf(t, entries{file("two", "2")}.archive(t), types.OCILayer)), "g/two:1")
	d := filepath.Join(t.TempDir(), "images")
	s := open(t, image.Options{Dir: d})
	a, err := s.Fetch(t.Context(), one, image.Auth{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Fetch(t.Context(), two, image.Auth{})
	if err != nil {
		t.Fatal(err)
	}
	there := func(want ...string) {
		t.Helper()
		got := map[string]bool{}
		for _, l := range append(append([]string{}, a.Layers...), b.Layers...) {
			if es, err := os.ReadDir(l); err == nil {
				got[es[0].Name()] = true
			}
		}
		if len(got) != len(want) {
			t.Errorf("there is %v, want %v", got, want)
		}
		for _, w := range want {
			if !got[w] {
				t.Errorf("%s is missing of %v", w, got)
			}
		}
	}
	collect := func(keep func(string) bool, freed int64) {
		t.Helper()
		if n, err := s.Collect(t.Context(), keep); err != nil || n != freed {
			t.Errorf("%d bytes became free, want %d: %v", n, freed, err)
		}
		isEmpty(t, filepath.Join(d, "new"))
	}
	collect(nil, 0) // both are pinned
	there("shared", "one", "two")
	if err := s.Forget(t.Context(), a.Digest); !api.IsCode(err, api.CodeConflict) {
		t.Errorf("an image in use was forgotten: %v", err)
	}
	a.Release()
	a.Release() // counts once
	collect(func(digest string) bool { return digest == a.Digest }, 0)
	there("shared", "one", "two")
	collect(nil, 1)
	there("shared", "two")
	b.Release()
	c, err := s.Fetch(t.Context(), two, image.Auth{}) // pinned again
	if err != nil {
		t.Fatal(err)
	}
	collect(nil, 0)
	c.Release()
	if err := s.Forget(t.Context(), "sha256:unknown"); err != nil {
		t.Error(err)
	}
	there("shared", "two")
	if err := s.Forget(t.Context(), b.Digest); err != nil {
		t.Error(err)
	}
	there()
	// A layer that went missing behind our back is fetched again.
	a, err = s.Fetch(t.Context(), one, image.Auth{})
	if err != nil {
		t.Fatal(err)
	}
	a.Release()
	if err := os.RemoveAll(filepath.Dir(a.Layers[0])); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*image.Store{s, open(t, image.Options{Dir: d})} {
		a, err = s.Fetch(t.Context(), one, image.Auth{})
		if err != nil {
			t.Fatal(err)
		}
		a.Release()
		there("shared", "one")
	}
	// Layers for another kind of mount are of no use.
	fetch(t, open(t, image.Options{Dir: d, Overlay: true, UserXattr: true}), one)
	there()
}

func TestParseDockerConfig(t *testing.T) {
	auth := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	one := func(match, user, password string) []image.Credential {
		return []image.Credential{{Match: match, Username: user, Password: password}}
	}
	for name, c := range map[string]struct {
		text string
		want []image.Credential
	}{
		"auth":           {`{"auths":{"ghcr.io":{"auth":"` + auth("u:p") + `"}}}`, one("ghcr.io", "u", "p")},
		"password colon": {`{"auths":{"ghcr.io":{"auth":"` + auth("u:p:q") + `"}}}`, one("ghcr.io", "u", "p:q")},
		"plain":          {`{"auths":{"ghcr.io":{"username":"u","password":"p"}}}`, one("ghcr.io", "u", "p")},
		"hub":            {`{"auths":{"https://index.docker.io/v1/":{"auth":"` + auth("u:p") + `"}}}`, one("index.docker.io", "u", "p")},
		"path":           {`{"auths":{"https://r.example.com:5000/team/":{"auth":"` + auth("u:p") + `"}}}`, one("r.example.com:5000/team", "u", "p")},
		"old form":       {`{"ghcr.io":{"auth":"` + auth("u:p") + `"},"credsStore":"desktop"}`, one("ghcr.io", "u", "p")},
		"helper":         {`{"auths":{"ghcr.io":{}},"credsStore":"desktop"}`, nil},
		"token":          {`{"auths":{"a.azurecr.io":{"identitytoken":"t"}}}`, []image.Credential{{Match: "a.azurecr.io", IdentityToken: "t"}}},
		"longest first":  {`{"auths":{"a.io":{"username":"u"},"a.io/x":{"username":"v"}}}`, []image.Credential{{Match: "a.io/x", Username: "v"}, {Match: "a.io", Username: "u"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := image.ParseDockerConfig([]byte(c.text))
			if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%+v %v, want %+v", got, err, c.want)
			}
		})
	}
	for _, bad := range []string{"", "[]", "7", `{"auths":[]}`, `{"auths":{"a.io":{"auth":"c2VjcmV0"}}}`, `{"auths":{"a.io":{"auth":"!secret"}}}`} {
		if _, err := image.ParseDockerConfig([]byte(bad)); !api.IsCode(err, api.CodeInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParseDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`))
	f.Add([]byte(`{"a.io":{"username":"u"},"x":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cs, err := image.ParseDockerConfig(data)
		if err != nil && !api.IsCode(err, api.CodeInvalid) {
			t.Error(err)
		}
		for _, c := range cs {
			if c.Username == "" && c.Password == "" && c.IdentityToken == "" && c.RegistryToken == "" {
				t.Errorf("a credential without one: %+v", c)
			}
		}
	})
}
