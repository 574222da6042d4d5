package build

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hearth-run/hearth/api"
)

const (
	maxPath = 1024 // bytes of a path or of a link's target
	maxName = 255  // bytes of one segment

	// A tree may be at most so many times its archive once it is larger than
	// freeBytes: source code never is, and a bomb always.
	maxRatio  = 200
	freeBytes = 32 << 20
)

// tree takes the entries of an archive, one by one, into a folder.
type tree struct {
	dir    string
	root   *os.Root // holds even what the checks below would miss
	limits Limits
	packed int64 // bytes of the archive; 0: not packed
	bytes  int64
	files  int
	mixed  bool                 // names may differ in case only
	seen   map[string]seenEntry // by folded path
}

type seenEntry struct {
	name string // as it was written
	kind entryKind
}

type entryKind byte

const (
	kindFolder entryKind = iota
	kindFile
	kindLink
)

func newTree(dir string, l Limits) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, api.Errorf(api.CodeDisk, "open the source folder: %w", err)
	}
	return &tree{dir: dir, root: root, limits: l, seen: map[string]seenEntry{}}, nil
}

// count bounds the number of entries.
func (t *tree) count(string) error {
	if t.files++; t.files > t.limits.Files {
		return t.tooMany()
	}
	return nil
}

func (t *tree) tooMany() error {
	return api.Errorf(api.CodeUnsafeArchive, "the source archive is refused: it has more than %d entries", t.limits.Files).
		WithHint("leave out what the function does not need")
}

// claim checks a name and takes it. It returns the clean name, "" for the root.
func (t *tree) claim(name string, kind entryKind) (string, error) {
	if err := t.count(name); err != nil {
		return "", err
	}
	clean, why := checkEntry(name)
	if why != "" {
		return "", unsafeEntry(name, why)
	}
	if clean == "." {
		if kind != kindFolder {
			return "", unsafeEntry(name, "stands for the folder itself")
		}
		return "", nil
	}
	for at := path.Dir(clean); at != "."; at = path.Dir(at) {
		was, ok := t.seen[t.fold(at)]
		switch {
		case !ok:
			t.seen[t.fold(at)] = seenEntry{at, kindFolder}
		case was.name != at:
			return "", unsafeEntry(name, fmt.Sprintf("differs from %q only in case", was.name))
		case was.kind == kindLink:
			return "", unsafeEntry(name, "goes through a symbolic link")
		case was.kind == kindFile:
			return "", unsafeEntry(name, fmt.Sprintf("is inside %q, which is a file", at))
		}
	}
	was, ok := t.seen[t.fold(clean)]
	switch {
	case !ok:
		t.seen[t.fold(clean)] = seenEntry{clean, kind}
	case was.name != clean:
		return "", unsafeEntry(name, fmt.Sprintf("differs from %q only in case", was.name))
	case was.kind != kindFolder || kind != kindFolder:
		return "", unsafeEntry(name, "is in it twice")
	}
	return clean, nil
}

// checkEntry says why an archive may not hold name.
func checkEntry(name string) (clean, why string) {
	switch {
	case name == "":
		return "", "is an empty name"
	case len(name) > maxPath:
		return "", "is too long a path"
	case !utf8.ValidString(name):
		return "", "is not UTF-8"
	case strings.HasPrefix(name, "/"):
		return "", "is an absolute path"
	case strings.Contains(name, `\`):
		return "", "has a backslash"
	case len(name) >= 2 && name[1] == ':' && unicode.IsLetter(rune(name[0])):
		return "", "is a path with a drive letter"
	}
	for s := range strings.SplitSeq(name, "/") {
		if s == ".." {
			return "", "leads out of the folder"
		}
		if len(s) > maxName {
			return "", "has too long a segment"
		}
	}
	if strings.IndexFunc(name, unicode.IsControl) >= 0 {
		return "", "has a control character"
	}
	return path.Clean(name), ""
}

// fold maps names that some file system takes for the same to one.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		// The smallest of the letter's case orbit: ſ, s and S are one.
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

func (t *tree) fold(name string) string {
	if t.mixed {
		return name
	}
	return fold(name)
}

func (t *tree) folder(name string) error {
	clean, err := t.claim(name, kindFolder)
	if err != nil || clean == "" {
		return err
	}
	return t.disk(t.root.MkdirAll(clean, 0o755))
}

func (t *tree) file(name string, mode fs.FileMode, r io.Reader) error {
	clean, err := t.claim(name, kindFile)
	if err != nil {
		return err
	}
	if err := t.root.MkdirAll(path.Dir(clean), 0o755); err != nil {
		return t.disk(err)
	}
	perm := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		perm = 0o755
	}
	f, err := t.root.OpenFile(clean, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return t.disk(err)
	}
	err = t.copy(f, r)
	if cerr := f.Close(); err == nil {
		err = t.disk(cerr)
	}
	return err
}

// copy counts bytes as they come: what an archive says of its sizes is not
// believed.
func (t *tree) copy(w io.Writer, r io.Reader) error {
	most := t.limits.Unpacked
	if t.packed > 0 {
		most = min(most, max(freeBytes, t.packed*maxRatio))
	}
	n, err := io.Copy(w, io.LimitReader(r, most-t.bytes+1))
	t.bytes += n
	if t.bytes > most {
		if most < t.limits.Unpacked {
			return api.Errorf(api.CodeUnsafeArchive, "the source archive is refused: it unpacks to more than %d times its size", maxRatio)
		}
		return api.Errorf(api.CodeTooLarge, "the source unpacks to more than %s", bytesText(t.limits.Unpacked)).
			WithHint("leave out what the function does not need at run time")
	}
	return err
}

func (t *tree) symlink(name, target string) error {
	clean, err := t.claim(name, kindLink)
	if err != nil {
		return err
	}
	if why := checkTarget(clean, target); why != "" {
		return unsafeEntry(name, why)
	}
	if err := t.root.MkdirAll(path.Dir(clean), 0o755); err != nil {
		return t.disk(err)
	}
	return t.disk(t.root.Symlink(target, clean))
}

// checkTarget says why the link at name may not point at target.
func checkTarget(name, target string) string {
	switch {
	case target == "" || len(target) > maxPath || strings.ContainsAny(target, "\x00\\") || !utf8.ValidString(target):
		return "is a symbolic link with a strange target"
	case path.IsAbs(target):
		return "is a symbolic link to an absolute path"
	}
	if at := path.Join(path.Dir(name), target); at == ".." || strings.HasPrefix(at, "../") {
		return "is a symbolic link that leads out of the folder"
	}
	return ""
}

// hardlink copies: the artifact has no hard links, and each counts as a file.
func (t *tree) hardlink(name, target string) error {
	from, why := checkEntry(target)
	if why != "" {
		return unsafeEntry(name, "is a hard link out of the folder")
	}
	if was, ok := t.seen[t.fold(from)]; !ok || was.name != from || was.kind != kindFile {
		return unsafeEntry(name, "is a hard link to what is no earlier file of the archive")
	}
	f, err := t.root.Open(from)
	if err != nil {
		return t.disk(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return t.disk(err)
	}
	return t.file(name, info.Mode(), f)
}

// checkLinks follows every symbolic link to its end: several harmless ones can
// lead out together.
func (t *tree) checkLinks() error {
	for _, e := range t.seen {
		if e.kind != kindLink {
			continue
		}
		if why := followLink(t.root, e.name); why != "" {
			return unsafeEntry(e.name, why)
		}
	}
	return nil
}

// followLink says why the symbolic link name must not stay. A link to nothing
// may: what it waits for may be built later.
func followLink(root *os.Root, name string) string {
	_, err := root.Stat(name)
	if err == nil || os.IsNotExist(err) {
		return ""
	}
	return "is a symbolic link that leads out of the folder or round in a circle"
}

func (t *tree) disk(err error) error {
	if err == nil {
		return nil
	}
	return api.Errorf(api.CodeDisk, "unpack the source: %w", err)
}
