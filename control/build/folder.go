package build

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/hearth-run/hearth/api"
)

// copyFolder copies a folder of this machine into dst, within the limits of an
// archive. It leaves out what .gitignore and .hearthignore of the folder name
// (the latter wins: a line "!dist/" there brings dist back), version control,
// .hearth, Python's caches and virtual environments, and a node_modules that
// stands beside a package.json with dependencies: those are installed by the
// build, without what is for development only. A path to a file copies that
// file alone.
func copyFolder(ctx context.Context, src, dst string, l Limits) error {
	if !filepath.IsAbs(src) {
		return api.Errorf(api.CodeInvalid, "spec.source.folder: %q is not an absolute path", src)
	}
	info, err := os.Stat(src)
	if err != nil {
		return notReadable(src, err)
	}
	only := ""
	if !info.IsDir() {
		src, only = filepath.Split(src)
	}
	root, err := os.OpenRoot(src)
	if err != nil {
		return notReadable(src, err)
	}
	defer root.Close()
	t, err := newTree(dst, l)
	if err != nil {
		return err
	}
	defer t.root.Close()
	if only != "" {
		return copyEntry(root, t, only, info.Mode().Type())
	}
	var ig ignore
	for _, f := range []string{".gitignore", ".hearthignore"} {
		if b, err := root.ReadFile(f); err == nil {
			ig.add(string(b))
		}
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		if leftOut(root, name, d) || ig.match(name, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return copyEntry(root, t, name, d.Type())
	})
	if err == nil {
		err = t.checkLinks()
	}
	var own *api.Error
	if err == nil || errors.As(err, &own) || ctx.Err() != nil {
		return err
	}
	return notReadable(src, err)
}

func notReadable(src string, err error) error {
	if os.IsNotExist(err) {
		return api.Errorf(api.CodeNotFound, "the source folder %s does not exist", src).WithHint("spec.source.folder names a folder on the machine where hearth runs")
	}
	return api.Errorf(api.CodeInvalid, "the source folder %s cannot be read", src).WithCause(err).WithHint("ls -la %s shows who may", src)
}

func leftOut(root *os.Root, name string, d fs.DirEntry) bool {
	base := path.Base(name)
	switch base {
	case ".git":
		return true
	case ".hg", ".svn", ".hearth", "__pycache__", ".venv":
		return d.IsDir()
	case ".DS_Store", ".gitignore", ".hearthignore":
		return true
	case "node_modules":
		b, err := root.ReadFile(path.Join(path.Dir(name), "package.json"))
		return err == nil && len(readPackage(b).Dependencies) > 0
	}
	if d.IsDir() {
		_, err := root.Lstat(path.Join(name, "pyvenv.cfg"))
		return err == nil
	}
	return false
}

func copyEntry(root *os.Root, t *tree, name string, kind fs.FileMode) error {
	switch kind {
	case fs.ModeDir:
		return t.folder(name)
	case fs.ModeSymlink:
		target, err := root.Readlink(name)
		if err != nil {
			return err
		}
		return t.symlink(name, filepath.ToSlash(target))
	case 0:
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return t.file(name, info.Mode(), f)
	default:
		return nil // sockets and the like are no source
	}
}
