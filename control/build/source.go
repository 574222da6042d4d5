package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
)

// sourceDigest names the source before anything is fetched: for an archive its
// own digest, for text the digest of names and contents. A folder is copied
// first, because it can change while it is read.
func (j *job) sourceDigest(ctx context.Context) (string, error) {
	s := j.r.Function.Spec.Source
	switch {
	case s.Archive != nil && s.Archive.Blob != "":
		if c := s.Archive.Checksum; c != nil && "sha256:"+c.Sum != s.Archive.Blob {
			return "", wrongSum("the uploaded archive", c.Sum, strings.TrimPrefix(s.Archive.Blob, "sha256:"))
		}
		return s.Archive.Blob, nil
	case s.Archive != nil:
		if s.Archive.Checksum == nil {
			return "", api.Errorf(api.CodeInvalid, "spec.source.archive.checksum is needed with url").WithHint("sha256sum FILE prints it")
		}
		return "sha256:" + s.Archive.Checksum.Sum, nil
	case s.Folder != "":
		if !j.b.cfg.Folders {
			return "", api.Errorf(api.CodeForbidden, "spec.source.folder is not allowed on this server").
				WithHint("hearth deploy FOLDER uploads the folder instead")
		}
		if err := copyFolder(ctx, s.Folder, j.src(), j.b.cfg.Limits); err != nil {
			return "", err
		}
		h := sha256.New()
		if err := pack(ctx, j.src(), h, j.b.cfg.Limits); err != nil {
			return "", err
		}
		return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		fmt.Fprintf(h, "%d %s %d\n%s", len(name), name, len(s.Files[name]), s.Files[name])
	}
	fmt.Fprintf(h, "inline %d\n%s", len(s.Inline), s.Inline)
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// unfold fills the source folder.
func (j *job) unfold(ctx context.Context) error {
	s := j.r.Function.Spec.Source
	switch {
	case s.Folder != "":
		return nil // sourceDigest did it
	case s.Archive != nil:
		return j.unfoldArchive(ctx, s.Archive)
	case s.Inline != "":
		base, spec := j.base(j.r.Runtime), j.r.Function.Spec
		if j.r.Runtime == "" {
			base = guessInline(s.Inline, len(spec.Command) > 0)
			j.r.Runtime = base
		}
		name, mode := inlineName(base, s.Inline, spec.Handler)
		return writeFiles(j.src(), map[string][]byte{name: []byte(s.Inline)}, mode)
	}
	files := map[string][]byte{}
	for name, text := range s.Files {
		if !api.SafePath(name) {
			return api.Errorf(api.CodeInvalid, "spec.source.files: %q leaves the source folder", name)
		}
		files[name] = []byte(text)
	}
	return writeFiles(j.src(), files, 0)
}

// writeFiles writes files below dir. A mode of 0 means 0755 for what starts
// with #! and 0644 for the rest.
func writeFiles(dir string, files map[string][]byte, mode os.FileMode) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return api.Errorf(api.CodeDisk, "write the source: %w", err)
	}
	defer root.Close()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		m := mode
		if m == 0 {
			m = 0o644
			if strings.HasPrefix(string(files[name]), "#!") {
				m = 0o755
			}
		}
		clean := path.Clean(name)
		if err := root.MkdirAll(path.Dir(clean), 0o755); err != nil {
			return api.Errorf(api.CodeInvalid, "write %s: a file stands where its folder should be", name).WithCause(err)
		}
		if err := root.WriteFile(clean, files[name], m); err != nil {
			return api.Errorf(api.CodeInvalid, "write %s: the name cannot be used", name).WithCause(err)
		}
	}
	return nil
}

func (j *job) unfoldArchive(ctx context.Context, a *api.Archive) error {
	f, err := os.Create(filepath.Join(j.dir, "archive"))
	if err != nil {
		return api.Errorf(api.CodeDisk, "keep the archive: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	what := "the uploaded archive"
	if a.Blob != "" {
		r, _, err := j.b.cfg.Blobs.Open(ctx, blob.Digest(a.Blob))
		if api.IsCode(err, api.CodeNotFound) {
			return api.Errorf(api.CodeNotFound, "archive %s was not uploaded, or is no longer kept", a.Blob).WithHint("hearth deploy uploads it again")
		}
		if err != nil {
			return err
		}
		err = j.spool(f, r, what)
		r.Close()
		if err != nil {
			return err
		}
	} else {
		what = shown(a.URL)
		sum, err := j.download(ctx, a.URL, f)
		if err != nil {
			return err
		}
		if sum != a.Checksum.Sum {
			return wrongSum(what, a.Checksum.Sum, sum)
		}
	}
	return Unpack(ctx, f, j.src(), j.b.cfg.Limits)
}

func wrongSum(what, want, got string) error {
	return api.Errorf(api.CodeChecksum, "%s has sha256 %s, but the manifest says %s", what, got, want)
}

// spool copies r to f within the archive limit.
func (j *job) spool(f io.Writer, r io.Reader, what string) error {
	most := j.b.cfg.Limits.Archive
	n, err := io.Copy(f, io.LimitReader(r, most+1))
	if err != nil {
		return api.Errorf(api.CodeUnreachable, "%s could not be read to its end", what).WithCause(err).WithHint("try again")
	}
	if n > most {
		return api.Errorf(api.CodeTooLarge, "%s is larger than %s", what, bytesText(most)).WithHint("leave out what the function does not need at run time")
	}
	return nil
}

// download fetches address into f and returns the sha256 of what came.
func (j *job) download(ctx context.Context, address string, f io.Writer) (string, error) {
	u, err := url.Parse(address)
	if err != nil || !webURL(u) {
		return "", api.Errorf(api.CodeInvalid, "spec.source.archive.url: %q is not an http or https address", shown(address))
	}
	ctx, cancel := context.WithTimeout(ctx, j.b.timeout(j.r))
	defer cancel()
	client := *j.b.cfg.Fetch
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("more than 10 redirects")
		}
		if !webURL(r.URL) {
			return fmt.Errorf("redirected to an address of scheme %q", r.URL.Scheme)
		}
		if via[0].URL.Scheme == "https" && r.URL.Scheme == "http" {
			return errors.New("redirected from https to http")
		}
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", api.Errorf(api.CodeInvalid, "spec.source.archive.url: %q is not an address", shown(address))
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address, which may hold a token
		}
		return "", (&api.Error{Code: api.CodeUnreachable, Message: fmt.Sprintf("fetch %s: %v", shown(address), err), Cause: err}).
			WithHint("check the address; the build is tried again by itself")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		code := api.CodeUnreachable
		if resp.StatusCode == http.StatusNotFound {
			code = api.CodeNotFound
		}
		return "", api.Errorf(code, "fetch %s: the server answered %s", shown(address), resp.Status).WithHint("check the address")
	}
	h := sha256.New()
	if err := j.spool(io.MultiWriter(f, h), resp.Body, shown(address)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func webURL(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" }

// shown is an address without user, password and query, which may be secret.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the archive's address"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
