package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// maxPacked bounds a packed folder, in bytes; the server has its own bound.
const maxPacked = 256 << 20

// upload packs a folder and keeps it on the server; the digest names it.
func (a *app) upload(ctx context.Context, c *client.Client, dir string) (digest string, err error) {
	f, err := os.CreateTemp("", "hearth-source-*.tar.gz")
	if err != nil {
		return "", api.Errorf(api.CodeDisk, "cannot pack %s: %w", dir, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := pack(f, dir); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", api.Errorf(api.CodeDisk, "cannot pack %s: %w", dir, err)
	}
	digest, _, err = c.UploadBlob(ctx, io.NopCloser(f))
	return digest, err
}

// pack writes the folder dir as a tar.gz that depends on nothing but names,
// contents and the execute bits: the same folder is the same digest anywhere.
func pack(w io.Writer, dir string) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	ig, err := readIgnore(dir)
	if err != nil {
		return err
	}
	files, size := 0, int64(0)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		rel = filepath.ToSlash(rel)
		if ig.ignores(rel, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n, err := packEntry(t, dir, p, rel, info)
		files++
		if size += n; size > 4*maxPacked {
			return api.Errorf(api.CodeTooLarge, "%s holds more than %d MiB", dir, 4*maxPacked>>20).WithHint("name what does not belong to the code in %s", ignoreFile)
		}
		return err
	})
	for _, c := range []io.Closer{t, z} {
		if cerr := c.Close(); err == nil {
			err = cerr
		}
	}
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return err
	case err != nil:
		return api.Errorf(api.CodeInvalid, "cannot pack %s: %w", dir, err).WithHint("may its files be read? ls -lR %s", dir)
	case files == 0:
		return api.Errorf(api.CodeInvalid, "there is nothing to deploy in %s", dir).WithHint("hearth new NAME writes a function to start from")
	}
	return nil
}

// packEntry adds one file, folder or link, and returns its size.
func packEntry(t *tar.Writer, dir, p, rel string, info fs.FileInfo) (int64, error) {
	h := &tar.Header{Name: rel, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, rel+"/", 0o755
		return 0, t.WriteHeader(h)
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(p)
		if err != nil {
			return 0, err
		}
		inside := path.Join(path.Dir(rel), filepath.ToSlash(to))
		if filepath.IsAbs(to) || inside == ".." || strings.HasPrefix(inside, "../") {
			return 0, api.Errorf(api.CodeUnsafeArchive, "%s is a link that leaves %s", rel, dir).WithHint("put what it points at into the folder, or name it in %s", ignoreFile)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, filepath.ToSlash(to)
		return 0, t.WriteHeader(h)
	case !info.Mode().IsRegular():
		return 0, nil // sockets and the like are no code
	}
	if info.Mode()&0o111 != 0 {
		h.Mode = 0o755
	}
	f, err := os.Open(p)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4*maxPacked+1))
	if err != nil {
		return 0, err
	}
	h.Size = int64(len(data))
	if err := t.WriteHeader(h); err != nil {
		return 0, err
	}
	_, err = io.Copy(t, bytes.NewReader(data))
	return h.Size, err
}
