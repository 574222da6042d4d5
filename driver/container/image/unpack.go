package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

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
	maxDepth = 256
	maxNames = 512 << 20 // bytes of memory for the names of folders and links
	maxValue = 64 << 10  // of an attribute
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
	tree   *node
	in     *folder
	about  about
	budget int64 // bytes it may still write
	names  int   // bytes of memory names have taken
	buf    []byte
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
	u := &unpacker{o: o, top: top, tree: &node{}, budget: o.limits.Unpacked, buf: make([]byte, 256<<10)}
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
			u.tree.own = ownerOf(e)
		}
		return nil
	}
	if e.Uid < 0 || e.Gid < 0 || int64(e.Uid) >= 1<<32-1 || int64(e.Gid) >= 1<<32-1 {
		return unsafe("entry %q has owner %d:%d", e.Name, e.Uid, e.Gid)
	}
	dir, base := path.Split(name)
	at, err := u.find(dir, true)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteout) {
		return u.hide(at, e, base)
	}
	if at.depth() >= maxDepth {
		return unsafe("entry %.60q… lies too deep", e.Name)
	}
	in, err := u.open(at)
	if err != nil {
		return err
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
	if e.Typeflag == tar.TypeReg || e.Typeflag == tar.TypeGNUSparse {
		return u.file(in, e, base, r)
	}
	if err := u.replace(in, base, e.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	switch e.Typeflag {
	case tar.TypeDir:
		return u.mkdir(in, e, base)
	case tar.TypeSymlink:
		return u.symlink(in, e, base)
	}
	if err := mkfifo(in.fd, base); err != nil {
		return err
	}
	return ownAt(in.fd, base, ownerOf(e), false)
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
	if _, ok := in.kids[base]; !ok {
		if err := u.makeFolder(in.node, base); err != nil {
			return err
		}
	}
	in.kids[base].own = ownerOf(e)
	return nil
}

func (u *unpacker) symlink(in *folder, e *tar.Header, base string) error {
	if e.Linkname == "" || len(e.Linkname) > 4095 || strings.ContainsRune(e.Linkname, 0) {
		return unsafe("symbolic link %q leads nowhere", e.Name)
	}
	if err := u.remember(len(base) + len(e.Linkname)); err != nil {
		return err
	}
	if err := in.root.Symlink(e.Linkname, base); err != nil {
		return err
	}
	in.add(&node{name: base, link: e.Linkname})
	return ownAt(in.fd, base, ownerOf(e), true)
}

// link makes a hard link to what this layer has written before.
func (u *unpacker) link(in *folder, e *tar.Header, base string) error {
	target, err := clean(e.Linkname)
	if err != nil {
		return unsafe("hard link %q leads out of the layer to %q", e.Name, e.Linkname)
	}
	dir, last := path.Split(target)
	at, err := u.find(dir, false)
	if err != nil {
		return err
	}
	if at == nil {
		return unsafe("hard link %q leads to %q, which is not in the layer", e.Name, e.Linkname)
	}
	from, to := path.Join(at.path(), last), in.join(base)
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
	if k, ok := at.kids[last]; ok {
		in.add(&node{name: base, link: k.link})
	}
	return u.top.Link(from, to)
}

func (u *unpacker) file(in *folder, e *tar.Header, base string, r io.Reader) error {
	if e.Size < 0 || e.Size > u.budget {
		return u.tooLarge()
	}
	f, err := in.root.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) { // seldom: the archive has the name twice
		if err := u.replace(in, base, false); err != nil {
			return err
		}
		f, err = in.root.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
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
	o := ownerOf(e)
	if err := setXattrs(f, o.xattrs); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return ownAt(in.fd, base, o, false)
}

func (u *unpacker) tooLarge() error {
	return tooLarge("a layer unpacks to more than %d bytes", u.o.limits.Unpacked)
}

func tooLarge(format string, args ...any) error {
	return api.Errorf(api.CodeTooLarge, format, args...).WithHint("make the image smaller; data belongs into a volume")
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
	delete(in.kids, base)
	return in.root.RemoveAll(base)
}

// hide notes a whiteout. They are made last: one hides what is in layers below,
// never what this layer brings, in whatever order the two come.
func (u *unpacker) hide(in *node, e *tar.Header, base string) error {
	if base == opaque {
		in.opaque = true
		return nil
	}
	if strings.HasPrefix(base, aufs) {
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteout)
	if hidden == "" || hidden == "." || hidden == ".." {
		return unsafe("whiteout %q hides nothing", e.Name)
	}
	if in.hidden == nil {
		in.hidden = map[string]bool{}
	}
	in.hidden[hidden] = true
	return u.remember(len(hidden))
}

// finish makes the whiteouts and gives folders their attributes, the deepest
// first: a folder's own mode may keep its contents from us.
func (u *unpacker) finish() error {
	// A folder that takes the place of a hidden one shows nothing of it.
	err := u.tree.all(func(n *node) error {
		for name := range n.hidden {
			if k, ok := n.kids[name]; ok && k.link == "" {
				k.opaque = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = u.tree.all(func(n *node) error {
		in, err := u.open(n)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(n.hidden)) {
			if _, err := in.root.Lstat(name); err == nil {
				continue // what is there hides as well
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			u.about.Whiteouts = append(u.about.Whiteouts, in.join(name))
			if u.o.overlay {
				if err := mkwhiteout(in.fd, name); err != nil {
					return err
				}
			}
		}
		if n.opaque {
			u.about.Opaque = append(u.about.Opaque, n.path())
			if u.o.overlay {
				if err := markOpaque(in.fd, u.o.userXattr); err != nil {
					return err
				}
			}
		}
		if n.own == nil {
			return nil
		}
		return errors.Join(setXattrs(in.fd, n.own.xattrs), own(in.fd, n.own))
	})
	return err
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

// modeOf is an entry's mode. Who is not root must be able to read and remove
// what others own in the image and he owns here.
func modeOf(mode int64, isFolder bool) uint32 {
	m := uint32(mode) & 0o7777
	if os.Geteuid() != 0 {
		m |= 0o400
		if isFolder {
			m |= 0o700
		}
	}
	return m
}
