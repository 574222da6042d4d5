package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hearth-run/hearth/api"
)

// What a layer may hold and what becomes of it:
//
//   - files, folders, hard and symbolic links, FIFOs: with mode, owner (where
//     this process is root) and time;
//   - devices: passed over, a box brings its own;
//   - whiteouts: for overlayfs, and listed in layer.json;
//   - attributes user.*: kept, but user.overlay.*, with which a layer could
//     redirect an overlay; all others are dropped, security.capability too:
//     boxes run without new privileges, where the kernel does not look at it.
//
// A name never leaves the layer's folder: symbolic links on the way to an entry
// are followed as in a root file system of their own, and every call goes
// through os.Root besides.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	aufs     = ".wh..wh." // marks of another union file system
	maxLinks = 40
	maxValue = 64 << 10 // of an attribute
)

type unpackOptions struct {
	limits             Limits
	overlay, userXattr bool
	log                *slog.Logger
}

// unpacker writes one layer.
type unpacker struct {
	o      unpackOptions
	top    *os.Root
	about  about
	budget int64 // bytes it may still write
	in     *folder
	buf    []byte
	// folders are those the layer names, by real path; their mode and time are
	// set last, because writing into them would change the time and may need
	// another mode.
	folders   map[string]*tar.Header
	whiteouts map[string]bool
	opaque    map[string]bool
}

// unpack writes the layer in r, whose compression it finds out, into the empty
// folder root, and returns what it holds, with the digest of its tar.
func unpack(ctx context.Context, root string, r io.Reader, o unpackOptions) (about, error) {
	plain, err := decompress(r)
	if err != nil {
		return about{}, err
	}
	defer plain.Close()
	top, err := os.OpenRoot(root)
	if err != nil {
		return about{}, err
	}
	defer top.Close()
	u := &unpacker{
		o: o, top: top, budget: o.limits.Unpacked, buf: make([]byte, 256<<10),
		folders: map[string]*tar.Header{}, whiteouts: map[string]bool{}, opaque: map[string]bool{},
	}
	defer func() { u.in.close() }()
	h := sha256.New()
	// Bytes of the stream and bytes written are bounded each: a sparse file
	// writes more than it reads, headers are read and not written.
	stream := &measured{ctx: ctx, r: io.TeeReader(plain, h), left: o.limits.Unpacked + 1024}
	t := tar.NewReader(stream)
	for {
		e, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return about{}, unreadable(ctx, err)
		}
		if u.about.Files++; u.about.Files > o.limits.Files {
			return about{}, api.Errorf(api.CodeTooLarge, "a layer has more than %d entries", o.limits.Files)
		}
		if err := u.entry(e, t); err != nil {
			return about{}, unreadable(ctx, err)
		}
	}
	// What follows the archive is part of the digest.
	if _, err := io.CopyBuffer(io.Discard, stream, u.buf); err != nil {
		return about{}, unreadable(ctx, err)
	}
	if err := u.finish(); err != nil {
		return about{}, err
	}
	u.about.DiffID = fmt.Sprintf("sha256:%x", h.Sum(nil))
	return u.about, nil
}

// entry writes one entry of the archive.
func (u *unpacker) entry(e *tar.Header, r io.Reader) error {
	if e.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := clean(e.Name)
	if err != nil {
		return err
	}
	if name == "" { // the root itself
		if e.Typeflag == tar.TypeDir {
			u.folders["."] = e
		}
		return nil
	}
	if e.Uid < 0 || e.Gid < 0 || int64(e.Uid) >= 1<<32-1 || int64(e.Gid) >= 1<<32-1 {
		return unsafe("entry %q has owner %d:%d", e.Name, e.Uid, e.Gid)
	}
	dir, base := path.Split(name)
	in, err := u.folder(dir)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteout) {
		return u.hide(in, e, base)
	}
	switch e.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeLink, tar.TypeSymlink, tar.TypeFifo, tar.TypeDir:
	case tar.TypeChar, tar.TypeBlock:
		u.o.log.Debug("a device of an image is passed over", "name", name)
		return nil
	default:
		return unsafe("entry %q is of the unknown type %q", e.Name, e.Typeflag)
	}
	if e.Typeflag == tar.TypeLink {
		return u.link(in, e, base)
	}
	if err := u.replace(in, base, e.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	switch e.Typeflag {
	case tar.TypeDir:
		return u.mkdir(in, e, base)
	case tar.TypeSymlink:
		return u.symlink(in, e, base)
	case tar.TypeFifo:
		if err := mkfifo(in.fd, base); err != nil {
			return err
		}
		return in.attributes(e, base)
	}
	return u.file(in, e, base, r)
}

// clean makes a name relative and refuses those that are none.
func clean(name string) (string, error) {
	if len(name) > 4096 || strings.ContainsRune(name, 0) {
		return "", unsafe("an entry's name is too long or holds a zero byte")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", unsafe("entry %q leads out of the layer", name)
		}
		if len(part) > 255 {
			return "", unsafe("a part of entry %.40q… is longer than 255 bytes", name)
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	return name, nil
}

func (u *unpacker) mkdir(in *folder, e *tar.Header, base string) error {
	if err := in.root.Mkdir(base, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	u.folders[in.join(base)] = e
	return nil
}

func (u *unpacker) symlink(in *folder, e *tar.Header, base string) error {
	if e.Linkname == "" || len(e.Linkname) > 4095 || strings.ContainsRune(e.Linkname, 0) {
		return unsafe("symbolic link %q leads nowhere", e.Name)
	}
	if err := in.root.Symlink(e.Linkname, base); err != nil {
		return err
	}
	u.in.fresh = map[string]string{} // ways through it are others now
	return in.attributes(e, base)
}

// link makes a hard link to what this layer has written before.
func (u *unpacker) link(in *folder, e *tar.Header, base string) error {
	target, err := clean(e.Linkname)
	if err != nil {
		return unsafe("hard link %q leads out of the layer to %q", e.Name, e.Linkname)
	}
	dir, last := path.Split(target)
	at, err := u.real(dir, false)
	if err != nil {
		return unsafe("hard link %q leads to %q, which is not in the layer", e.Name, e.Linkname)
	}
	from, to := path.Join(at, last), in.join(base)
	st, err := u.top.Lstat(from)
	if err != nil || !st.Mode().IsRegular() && st.Mode().Type() != fs.ModeSymlink {
		return unsafe("hard link %q leads to %q, which is no file of the layer", e.Name, e.Linkname)
	}
	if from == to {
		return nil
	}
	if err := u.replace(in, base, false); err != nil {
		return err
	}
	// Replacing a folder may have removed the target with it.
	if _, err := u.top.Lstat(from); err != nil {
		return unsafe("hard link %q takes the place of what it leads to", e.Name)
	}
	return u.top.Link(from, to)
}

func (u *unpacker) file(in *folder, e *tar.Header, base string, r io.Reader) error {
	if e.Size < 0 || e.Size > u.budget {
		return u.tooLarge()
	}
	f, err := in.root.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(r, u.budget+1), u.buf)
	if err != nil {
		return err
	}
	if u.budget -= n; u.budget < 0 {
		return u.tooLarge()
	}
	u.about.Size += n
	if err := attributesOf(f, e.PAXRecords); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return in.attributes(e, base)
}

func (u *unpacker) tooLarge() error {
	return api.Errorf(api.CodeTooLarge, "a layer unpacks to more than %d bytes", u.o.limits.Unpacked).
		WithHint("make the image smaller; data belongs into a volume")
}

// replace removes what a later entry of the same name takes the place of; only
// a folder stays for a folder.
func (u *unpacker) replace(in *folder, base string, forFolder bool) error {
	st, err := in.root.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || forFolder && st.IsDir() {
		return err
	}
	if st.Mode().IsRegular() {
		u.about.Size -= st.Size()
	}
	if st.IsDir() {
		gone := in.join(base)
		for name := range u.folders {
			if name == gone || strings.HasPrefix(name, gone+"/") {
				delete(u.folders, name)
			}
		}
		for _, marks := range []map[string]bool{u.whiteouts, u.opaque} {
			for name := range marks {
				if name == gone || strings.HasPrefix(name, gone+"/") {
					delete(marks, name)
				}
			}
		}
	}
	if st.IsDir() || st.Mode().Type() == fs.ModeSymlink {
		u.in.fresh = map[string]string{}
	}
	return in.root.RemoveAll(base)
}

// hide notes a whiteout. They are made last: one hides what is in layers below,
// never what this layer brings, in whatever order the two come.
func (u *unpacker) hide(in *folder, e *tar.Header, base string) error {
	if base == opaque {
		u.opaque[in.name] = true
		return nil
	}
	if strings.HasPrefix(base, aufs) {
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteout)
	if hidden == "" || hidden == "." || hidden == ".." {
		return unsafe("whiteout %q hides nothing", e.Name)
	}
	u.whiteouts[in.join(hidden)] = true
	return nil
}

// finish makes the whiteouts and gives folders their attributes.
func (u *unpacker) finish() error {
	for name := range u.whiteouts {
		st, err := u.top.Lstat(name)
		switch {
		case err == nil && st.IsDir():
			u.opaque[name] = true // the new folder shows nothing of the old one
		case err == nil:
		case errors.Is(err, fs.ErrNotExist):
			u.about.Whiteouts = append(u.about.Whiteouts, name)
		default:
			return err
		}
	}
	for name := range u.opaque {
		if name != "." { // below the root of a layer lie the roots of others
			u.about.Opaque = append(u.about.Opaque, name)
		}
	}
	if u.opaque["."] {
		u.about.Opaque = append(u.about.Opaque, ".")
	}
	slices.Sort(u.about.Whiteouts)
	slices.Sort(u.about.Opaque)
	if u.o.overlay {
		if err := u.marks(); err != nil {
			return err
		}
	}
	// Deepest first: a folder's own mode may keep its contents from us.
	names := make([]string, 0, len(u.folders))
	for name := range u.folders {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) })
	for _, name := range names {
		f, err := u.top.Open(name)
		if err != nil {
			return err
		}
		err = errors.Join(attributesOf(f, u.folders[name].PAXRecords), own(f, u.folders[name]))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// marks makes the whiteouts as overlayfs reads them.
func (u *unpacker) marks() error {
	for _, name := range u.about.Whiteouts {
		dir, base := path.Split(name)
		in, err := u.folder(dir)
		if err != nil {
			return err
		}
		if err := mkwhiteout(in.fd, base); err != nil {
			return err
		}
	}
	for _, name := range u.about.Opaque {
		f, err := u.top.Open(name)
		if err != nil {
			return err
		}
		err = markOpaque(f, u.o.userXattr)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func unsafe(format string, args ...any) error {
	return api.Errorf(api.CodeUnsafeArchive, format, args...).WithHint("build the image again, from sources you trust")
}

// unreadable tells a broken stream from a full disk and an ended context.
func unreadable(ctx context.Context, err error) error {
	var own *api.Error
	var disk *fs.PathError
	var link *os.LinkError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &own), errors.As(err, &disk), errors.As(err, &link), isErrno(err):
		return err
	}
	return api.Errorf(api.CodeInvalid, "a layer is damaged: %w", err).WithHint("build and push the image again")
}

// measured is a stream that ends with its context and after so many bytes.
type measured struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (m *measured) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	if m.left <= 0 {
		return 0, api.Errorf(api.CodeTooLarge, "a layer unpacks to more than is allowed").
			WithHint("make the image smaller; data belongs into a volume")
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// decompress finds out the compression by its first bytes: media types are
// wrong too often.
func decompress(r io.Reader) (io.ReadCloser, error) {
	p, ok := r.(interface {
		io.Reader
		Peek(int) ([]byte, error)
	})
	if !ok {
		return nil, errors.New("the reader cannot peek")
	}
	head, err := p.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(p)
		if err != nil {
			return nil, unreadable(context.Background(), err)
		}
		return z, nil
	case len(head) == 4 && head[1] == 0xb5 && head[2] == 0x2f && head[3] == 0xfd && head[0] == 0x28:
		z, err := zstd.NewReader(p, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, unreadable(context.Background(), err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(p), nil
}

// when is an entry's time, within what file systems can keep.
func when(e *tar.Header) time.Time {
	if e.ModTime.Unix() < 0 {
		return time.Unix(0, 0)
	}
	if e.ModTime.Unix() >= 1<<34 {
		return time.Unix(1<<34-1, 0)
	}
	return e.ModTime
}
