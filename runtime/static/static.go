// Package static serves the files of a folder over HTTP: what the static runtime
// runs inside its instances, as a process of this very binary. Control of who
// may see the files, compression on the way and certificates are the gateway's.
package static

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Argument, as the first one of the command line, makes Main serve.
const Argument = "static-files"

// Main serves the folder named by the second argument of args on $PORT until
// SIGTERM, if the first is Argument; else it returns false and does nothing.
func Main(args []string) bool {
	if len(args) < 3 || args[1] != Argument {
		return false
	}
	if err := serve(args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	return true
}

func serve(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("cannot serve %s: %w", dir, err)
	}
	// The gateway asks from here, also where the network is the host's.
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", os.Getenv("PORT")))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	s := &http.Server{Handler: New(os.DirFS(dir)), ReadHeaderTimeout: 30 * time.Second}
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(ended)
		s.Shutdown(context.Background()) // the host sets the bound
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ended
	return nil
}

// New serves the files of fsys, which must not change: a folder by its
// index.html, an address without an ending by the .html file of that name, and
// what is not there by 404.html, if there is one. Names that begin with a dot
// are not shown, but for .well-known. Answers have an ETag of their content;
// there is no Last-Modified, as the files of an artifact have no times.
func New(fsys fs.FS) http.Handler { return &site{files: fsys} }

type site struct {
	files fs.FS
	tags  sync.Map // name → ETag
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "these are files: GET and HEAD only", http.StatusMethodNotAllowed)
		return
	}
	name, folder := s.find(r.URL.Path)
	switch {
	case name == "":
		s.missing(w, r)
	case folder && !strings.HasSuffix(r.URL.Path, "/"):
		// Relative links of the page are relative to the folder.
		to := url.URL{Path: path.Base(r.URL.Path) + "/", RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusMovedPermanently)
	default:
		s.send(w, r, name)
	}
}

// find is the file for the path of a request, and whether it is a folder's
// index; "" when there is none.
func (s *site) find(p string) (name string, folder bool) {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, ".") && part != ".well-known" {
			return "", false
		}
	}
	if p == "" {
		p = "."
	}
	switch info, err := fs.Stat(s.files, p); {
	case err == nil && info.Mode().IsRegular():
		return p, false
	case err == nil && info.IsDir() && s.regular(path.Join(p, "index.html")):
		return path.Join(p, "index.html"), true
	case s.regular(p + ".html"):
		return p + ".html", false
	}
	return "", false
}

func (s *site) regular(name string) bool {
	info, err := fs.Stat(s.files, name)
	return err == nil && info.Mode().IsRegular()
}

func (s *site) send(w http.ResponseWriter, r *http.Request, name string) {
	f, err := s.files.Open(name)
	if err != nil {
		s.missing(w, r)
		return
	}
	defer f.Close()
	content, ok := f.(io.ReadSeeker)
	if !ok {
		http.Error(w, "this file cannot be read", http.StatusInternalServerError)
		return
	}
	tag, err := s.tag(name, content)
	if err != nil {
		http.Error(w, "this file cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "no-cache") // ask again; 304 costs little
	http.ServeContent(w, r, name, time.Time{}, content)
}

// tag is the ETag of name, made once.
func (s *site) tag(name string, content io.ReadSeeker) (string, error) {
	if t, ok := s.tags.Load(name); ok {
		return t.(string), nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return "", err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	t := `"` + base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:12]) + `"`
	s.tags.Store(name, t)
	return t, nil
}

func (s *site) missing(w http.ResponseWriter, r *http.Request) {
	page, err := fs.ReadFile(s.files, "404.html")
	if err != nil {
		http.Error(w, "404: there is no "+r.URL.Path, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		w.Write(page)
	}
}
