package image

import (
	"archive/tar"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// node is what the unpacker knows of a folder or symbolic link it made, so that
// ways are found and parts dropped without asking the disk.
type node struct {
	up   *node
	name string
	link string           // where a symbolic link leads; empty: a folder
	kids map[string]*node // folders and links in it
	// Of folders:
	own    *owner          // as the layer says; nil: only made for what is in it
	hidden map[string]bool // names it hides of layers below
	opaque bool            // it hides all of them
}

// owner is what is set of a folder last: writing into it would change the time,
// and may need another mode.
type owner struct {
	uid, gid int
	mode     uint32
	at       time.Time
	xattrs   map[string]string
}

func ownerOf(e *tar.Header) *owner {
	o := &owner{uid: e.Uid, gid: e.Gid, mode: modeOf(e.Mode, e.Typeflag == tar.TypeDir), at: when(e)}
	for k, v := range e.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok && keeps(name) {
			if o.xattrs == nil {
				o.xattrs = map[string]string{}
			}
			o.xattrs[name] = v
		}
	}
	return o
}

// keeps reports whether an attribute is kept.
func keeps(name string) bool {
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// path is from the layer's top, "." for it.
func (n *node) path() string {
	var parts []string
	for ; n.up != nil; n = n.up {
		parts = append(parts, n.name)
	}
	if len(parts) == 0 {
		return "."
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

func (n *node) depth() (d int) {
	for ; n.up != nil; n = n.up {
		d++
	}
	return d
}

func (n *node) add(k *node) {
	if n.kids == nil {
		n.kids = map[string]*node{}
	}
	k.up = n
	n.kids[k.name] = k
}

// all calls f for the folders below n and then for n, in a fixed order.
func (n *node) all(f func(*node) error) error {
	names := make([]string, 0, len(n.kids))
	for name, k := range n.kids {
		if k.link == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := n.kids[name].all(f); err != nil {
			return err
		}
	}
	return f(n)
}

// folder is an open folder of the layer being written.
type folder struct {
	*node
	root *os.Root
	fd   *os.File
}

func (f *folder) close() {
	if f != nil {
		f.root.Close()
		f.fd.Close()
	}
}

func (f *folder) join(base string) string { return path.Join(f.path(), base) }

// open opens a folder. The last one stays open: archives come sorted by folder.
func (u *unpacker) open(n *node) (*folder, error) {
	if u.in != nil && u.in.node == n {
		return u.in, nil
	}
	root, err := u.top.OpenRoot(n.path())
	if err != nil {
		return nil, err
	}
	fd, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	u.in.close()
	u.in = &folder{n, root, fd}
	return u.in, nil
}

// find returns the folder of this name. Symbolic links lead nowhere but inside
// the layer: an absolute one starts at its top, and .. of the top is the top.
// Missing folders are made, or else nil is returned.
func (u *unpacker) find(name string, make bool) (*node, error) {
	at, depth, links := u.tree, 0, 0
	todo := strings.Split(name, "/")
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at.up != nil {
				at, depth = at.up, depth-1
			}
			continue
		}
		next, ok := at.kids[part]
		switch {
		case !ok && !make:
			return nil, nil
		case !ok:
			if len(part) > 255 || depth >= maxDepth {
				return nil, unsafe("%.60q… leads too deep, or to a name that is too long", name)
			}
			if err := u.makeFolder(at, part); err != nil {
				return nil, err
			}
			at, depth = at.kids[part], depth+1
		case next.link == "":
			at, depth = next, depth+1
		default:
			if links++; links > maxLinks {
				return nil, unsafe("%q leads through symbolic links in circles", name)
			}
			if strings.HasPrefix(next.link, "/") {
				at, depth = u.tree, 0
			}
			todo = append(strings.Split(next.link, "/"), todo...)
		}
	}
	return at, nil
}

// makeFolder makes a folder that is not there yet.
func (u *unpacker) makeFolder(in *node, base string) error {
	if err := u.remember(len(base)); err != nil {
		return err
	}
	f, err := u.open(in)
	if err != nil {
		return err
	}
	if err := f.root.Mkdir(base, 0o755); err != nil {
		if st, e := f.root.Lstat(base); e == nil && !st.IsDir() {
			return unsafe("%q is a file and a folder", f.join(base))
		}
		return err
	}
	in.add(&node{name: base})
	return nil
}

// remember bounds the memory that names take.
func (u *unpacker) remember(n int) error {
	if u.names += n + 200; u.names > maxNames {
		return tooLarge("a layer has too many folders and links")
	}
	return nil
}
