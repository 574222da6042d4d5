package static

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestSite(t *testing.T) {
	site := New(fstest.MapFS{
		"index.html":              {Data: []byte("<h1>home</h1>")},
		"about.html":              {Data: []byte("about")},
		"docs/index.html":         {Data: []byte("docs")},
		"app.css":                 {Data: []byte("body{}")},
		"empty/x.txt":             {Data: []byte("x")},
		".env":                    {Data: []byte("SECRET=1")},
		"a/.git/config":           {Data: []byte("git")},
		".well-known/acme.txt":    {Data: []byte("acme")},
		"404.html":                {Data: []byte("lost")},
		"data.json":               {Data: []byte("0123456789")},
		"folder.html/note":        {Data: []byte("n")},
		"x:50% off/index.html":    {Data: []byte("off")},
		"with space/\u00e4x.html": {Data: []byte("umlaut")},
	})
	get := func(method, target string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://site"+target, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		return w
	}
	for _, tt := range []struct {
		target string
		status int
		body   string
	}{
		{"/", 200, "<h1>home</h1>"},
		{"/index.html", 200, "<h1>home</h1>"},
		{"/about", 200, "about"},
		{"/docs/", 200, "docs"},
		{"/docs", 301, ""},
		{"/docs?x=1", 301, ""},
		{"/app.css", 200, "body{}"},
		{"/empty/", 404, "lost"},
		{"/nothing", 404, "lost"},
		{"/.env", 404, "lost"},
		{"/a/.git/config", 404, "lost"},
		{"/.well-known/acme.txt", 200, "acme"},
		{"/../../etc/passwd", 404, "lost"},
		{"/%2e%2e/%2e%2e/etc/passwd", 404, "lost"},
		{"/folder", 404, "lost"},
		{"/with%20space/%C3%A4x", 200, "umlaut"},
	} {
		w := get("GET", tt.target)
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.target, w.Code, w.Body, tt.status, tt.body)
		}
		if strings.HasPrefix(tt.target, "/docs?") && w.Header().Get("Location") != "docs/?x=1" {
			t.Errorf("%s leads to %q", tt.target, w.Header().Get("Location"))
		}
	}
	if to := get("GET", "/x:50%25%20off").Header().Get("Location"); to != "./x:50%25%20off/" {
		t.Errorf("a folder whose name has to be escaped leads to %q", to)
	}
	first := get("GET", "/app.css")
	if h := first.Header(); h.Get("ETag") == "" || h.Get("Last-Modified") != "" || !strings.HasPrefix(h.Get("Content-Type"), "text/css") {
		t.Errorf("headers of a file: %v", h)
	}
	if w := get("GET", "/app.css", "If-None-Match", first.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("asked again: %d", w.Code)
	}
	if w := get("GET", "/data.json", "Range", "bytes=2-4"); w.Code != http.StatusPartialContent || w.Body.String() != "234" {
		t.Errorf("a range: %d %q", w.Code, w.Body)
	}
	if w := get("HEAD", "/nothing"); w.Code != 404 || w.Body.Len() != 0 {
		t.Errorf("HEAD of nothing: %d %q", w.Code, w.Body)
	}
	if w := get("POST", "/"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}
