package image

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

// folder is an open folder of the layer being written.
type folder struct {
	name  string // real path from the layer's top, "." for it
	root  *os.Root
	fd    *os.File
	fresh map[string]string // names of folders to their real paths; see real
}

func (f *folder) close() {
	if f != nil {
		f.root.Close()
		f.fd.Close()
	}
}

func (f *folder) join(base string) string { return path.Join(f.name, base) }

// folder opens the folder an entry is in; one that is missing is made. The last
// one stays open: archives come sorted by folder.
func (u *unpacker) folder(name string) (*folder, error) {
	at, err := u.real(name, true)
	if err != nil {
		return nil, err
	}
	if u.in != nil && u.in.name == at {
		// It may have been removed and made again under the same name.
		if a, err := u.in.fd.Stat(); err == nil {
			if b, err := u.top.Lstat(at); err == nil && os.SameFile(a, b) {
				return u.in, nil
			}
		}
	}
	root, err := u.top.OpenRoot(at)
	if err != nil {
		return nil, err
	}
	fd, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	known := map[string]string{}
	if u.in != nil {
		known = u.in.fresh
		u.in.close()
	}
	u.in = &folder{name: at, root: root, fd: fd, fresh: known}
	return u.in, nil
}

// real is the path of a folder without symbolic links, which lead nowhere but
// inside the layer: an absolute one starts at its top, and .. of the top is the
// top. Missing folders are made, or are fs.ErrNotExist.
func (u *unpacker) real(name string, make bool) (string, error) {
	name = strings.Trim(name, "/")
	if name == "" {
		return ".", nil
	}
	if u.in != nil {
		if at, ok := u.in.fresh[name]; ok {
			return at, nil
		}
	}
	at, links := ".", 0
	todo := strings.Split(name, "/")
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		if len(part) > 255 || len(at)+len(part) > 4095 {
			return "", unsafe("%q leads to a name that is too long", name)
		}
		next := path.Join(at, part)
		st, err := u.top.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) && make {
			if err := u.top.Mkdir(next, 0o755); err != nil {
				return "", err
			}
			at = next
			continue
		}
		switch {
		case err != nil:
			return "", err
		case st.IsDir():
			at = next
		case st.Mode().Type() == fs.ModeSymlink:
			if links++; links > maxLinks {
				return "", unsafe("%q leads through symbolic links in circles", name)
			}
			target, err := u.top.Readlink(next)
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(target, "/") {
				at = "."
			}
			todo = append(strings.Split(target, "/"), todo...)
			if len(todo) > 4096 {
				return "", unsafe("%q leads through too many folders", name)
			}
		default:
			return "", unsafe("%q is in %q, which is no folder", name, next)
		}
	}
	if u.in != nil {
		if len(u.in.fresh) > 4096 {
			clear(u.in.fresh)
		}
		u.in.fresh[name] = at
	}
	return at, nil
}

// attributes gives what was just made under base its owner, mode and time.
func (f *folder) attributes(e *tar.Header, base string) error {
	return ownAt(f.fd, base, e)
}
