package build

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hearth-run/hearth/api"
)

// pack writes the tree below dir as a tar that depends on names, contents,
// links and executable bits only. Special files are left out; a symbolic link
// that leads out of the tree is refused, because an instance would follow it
// elsewhere than the build did.
func pack(ctx context.Context, dir string, w io.Writer, l Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return api.Errorf(api.CodeDisk, "pack the artifact: %w", err)
	}
	defer root.Close()
	p := packer{root: root, out: tar.NewWriter(w), limits: l}
	// WalkDir reads each folder in order of names, so the order is fixed.
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		return p.add(name, d)
	})
	if err != nil {
		return asDisk(err)
	}
	if err := p.out.Close(); err != nil {
		return asDisk(err)
	}
	return nil
}

type packer struct {
	root   *os.Root
	out    *tar.Writer
	limits Limits
	bytes  int64
	files  int
}

func (p *packer) add(name string, d fs.DirEntry) error {
	if p.files++; p.files > p.limits.Files {
		return api.Errorf(api.CodeTooLarge, "the built tree has more than %d files", p.limits.Files)
	}
	h := &tar.Header{Name: filepath.ToSlash(name), ModTime: time.Unix(0, 0), Mode: 0o644}
	switch d.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, h.Name+"/"
		return p.out.WriteHeader(h)
	case fs.ModeSymlink:
		target, err := p.root.Readlink(name)
		if err != nil {
			return err
		}
		why := checkTarget(name, filepath.ToSlash(target))
		if why == "" {
			why = followLink(p.root, name)
		}
		if why != "" {
			return api.Errorf(api.CodeUnsafeArchive, "the built tree is refused: %q %s", name, why).WithHint("use a relative link to a file of the source, or a copy")
		}
		h.Typeflag, h.Mode, h.Linkname = tar.TypeSymlink, 0o777, filepath.ToSlash(target)
		return p.out.WriteHeader(h)
	case 0:
		return p.file(name, h)
	default:
		return nil // sockets, pipes: nothing that can be kept
	}
}

func (p *packer) file(name string, h *tar.Header) error {
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if p.bytes += info.Size(); p.bytes > p.limits.Unpacked {
		return api.Errorf(api.CodeTooLarge, "the built tree is larger than %s", bytesText(p.limits.Unpacked)).
			WithHint("leave out what the function does not need at run time")
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if info.Mode()&0o111 != 0 {
		h.Mode = 0o755
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(p.out, f, info.Size())
	return err
}

func asDisk(err error) error {
	if _, ok := err.(*api.Error); ok || err == context.Canceled || err == context.DeadlineExceeded {
		return err
	}
	return api.Errorf(api.CodeDisk, "pack the artifact: %w", err)
}
