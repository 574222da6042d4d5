package build

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/hearth-run/hearth/api"
)

// Archive is what Unpack reads: a file.
type Archive interface {
	io.ReadSeeker
	io.ReaderAt
}

// Unpack unpacks a zip, tar, tar.gz or tar.zst, told by its first bytes, into
// the empty folder dir. An archive that could touch anything outside dir, or
// that is built to confuse or to exhaust, is refused with CodeUnsafeArchive or
// CodeTooLarge. After an error dir is empty again.
func Unpack(ctx context.Context, a Archive, dir string, l Limits) (err error) {
	l = l.withDefaults()
	t, err := newTree(dir, l)
	if err != nil {
		return err
	}
	defer t.root.Close()
	defer func() {
		if err != nil {
			t.empty()
		}
	}()
	size, err := a.Seek(0, io.SeekEnd)
	if err != nil {
		return damaged(err)
	}
	t.packed = size
	if _, err := a.Seek(0, io.SeekStart); err != nil {
		return damaged(err)
	}
	head := make([]byte, 512)
	n, _ := a.ReadAt(head, 0)
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")):
		err = unzip(ctx, a, size, t)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, zerr := gzip.NewReader(bufio.NewReader(a))
		if zerr != nil {
			return damaged(zerr)
		}
		err = untar(ctx, z, t)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, zerr := zstd.NewReader(a, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if zerr != nil {
			return damaged(zerr)
		}
		defer z.Close()
		err = untar(ctx, z, t)
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		err = untar(ctx, a, t)
	default:
		return api.Errorf(api.CodeInvalid, "the source archive is no zip, tar, tar.gz or tar.zst").WithHint("tar czf source.tgz -C FOLDER . makes one")
	}
	if err != nil {
		return err
	}
	return t.checkLinks()
}

func damaged(err error) error {
	return api.Errorf(api.CodeInvalid, "the source archive is damaged: %v", err).WithHint("pack it again")
}

// asDamaged leaves our own errors alone.
func asDamaged(err error) error {
	var e *api.Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return damaged(err)
}

func untar(ctx context.Context, r io.Reader, t *tree) error {
	tr := tar.NewReader(r)
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return asDamaged(err)
		}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			err = t.count(h.Name)
		case tar.TypeDir:
			err = t.folder(h.Name)
		case tar.TypeReg, tar.TypeGNUSparse:
			err = t.file(h.Name, h.FileInfo().Mode(), tr)
		case tar.TypeSymlink:
			err = t.symlink(h.Name, h.Linkname)
		case tar.TypeLink:
			err = t.hardlink(h.Name, h.Linkname)
		default:
			err = unsafeEntry(h.Name, "is a device or another special file")
		}
		if err != nil {
			return asDamaged(err)
		}
	}
}

func unzip(ctx context.Context, r io.ReaderAt, size int64, t *tree) error {
	// The directory of a zip is read as a whole: bound it by its own count.
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return damaged(err)
	}
	if len(z.File) > t.limits.Files {
		return t.tooMany()
	}
	for _, f := range z.File {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := unzipEntry(f, t); err != nil {
			return asDamaged(err)
		}
	}
	return nil
}

func unzipEntry(f *zip.File, t *tree) error {
	mode := f.Mode()
	if mode.IsDir() {
		return t.folder(f.Name)
	}
	if mode.Type() != 0 && mode.Type() != fs.ModeSymlink {
		return unsafeEntry(f.Name, "is a device or another special file")
	}
	if f.Flags&1 != 0 {
		return api.Errorf(api.CodeInvalid, "the source archive is encrypted").WithHint("pack it without a password")
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if mode.Type() == fs.ModeSymlink {
		target, err := io.ReadAll(io.LimitReader(r, maxPath+1))
		if err != nil {
			return err
		}
		return t.symlink(f.Name, string(target))
	}
	return t.file(f.Name, mode, r)
}

// unsafeEntry refuses an archive because of one entry.
func unsafeEntry(name, why string) error {
	if len(name) > 200 {
		name = name[:200] + "…"
	}
	return api.Errorf(api.CodeUnsafeArchive, "the source archive is refused: %q %s", name, why)
}

// empty removes what was unpacked, so that nothing is half there.
func (t *tree) empty() {
	entries, _ := os.ReadDir(t.dir)
	for _, e := range entries {
		t.root.RemoveAll(e.Name())
	}
}
