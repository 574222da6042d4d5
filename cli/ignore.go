package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// ignoreFile names what of a folder is not part of its code, in .gitignore's
// words: blank lines and #, a trailing / for folders, a leading / for the top,
// *, ? and [a-z] within a name, ** across folders, ! to take a file back in.
const ignoreFile = ".hearthignore"

// ignore decides what of a folder is deployed.
type ignore struct{ rules []ignoreRule }

type ignoreRule struct {
	pattern string
	folder  bool // folders only
	top     bool // from the top, not at any depth
	keep    bool
}

// readIgnore makes the rules of dir: what never is code, and its ignore file.
func readIgnore(dir string) (ignore, error) {
	var ig ignore
	for _, line := range []string{".git/", ".hg/", ".svn/", ".hearth/", "__pycache__/", "*.pyc", ".DS_Store", ".venv/", ".pytest_cache/", ignoreFile} {
		ig.add(line)
	}
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		ig.add("node_modules/") // the build installs them
	}
	data, err := os.ReadFile(filepath.Join(dir, ignoreFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ig, api.Errorf(api.CodeInvalid, "cannot read %s: %v", filepath.Join(dir, ignoreFile), err)
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		ig.add(s.Text())
	}
	for _, r := range ig.rules {
		if _, err := path.Match(r.pattern, "x"); err != nil {
			return ig, api.Errorf(api.CodeInvalid, "%s: %q is not a pattern", filepath.Join(dir, ignoreFile), r.pattern)
		}
	}
	return ig, nil
}

func (ig *ignore) add(line string) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return
	}
	var r ignoreRule
	line, r.keep = strings.CutPrefix(line, "!")
	line, r.folder = strings.CutSuffix(line, "/")
	r.top = strings.Contains(line, "/")
	r.pattern = strings.TrimPrefix(line, "/")
	ig.rules = append(ig.rules, r)
}

// ignores reports whether rel, a slash-separated path below the folder, is left
// out. The last rule that matches decides.
func (ig ignore) ignores(rel string, isDir bool) bool {
	out := false
	for _, r := range ig.rules {
		if r.folder && !isDir {
			continue
		}
		if r.matches(rel) {
			out = !r.keep
		}
	}
	return out
}

func (r ignoreRule) matches(rel string) bool {
	if !r.top {
		rel = path.Base(rel)
	}
	return matchPath(strings.Split(r.pattern, "/"), strings.Split(rel, "/"))
}

// matchPath matches by segments; ** stands for any number of them.
func matchPath(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		for i := range len(name) + 1 {
			if matchPath(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return err == nil && ok && matchPath(pattern[1:], name[1:])
}
