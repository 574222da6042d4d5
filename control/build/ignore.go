package build

import (
	"path"
	"strings"
)

// ignore decides by the lines of .gitignore: #, !, a leading and a trailing
// slash, *, ?, [set] and ** as a whole segment. The last line that matches wins.
type ignore struct{ rules []ignoreRule }

type ignoreRule struct {
	segments []string
	not, dir bool
}

func (ig *ignore) add(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		var r ignoreRule
		line, r.not = strings.CutPrefix(line, "!")
		line = strings.TrimPrefix(line, `\`)
		line, r.dir = strings.CutSuffix(line, "/")
		anchored := strings.Contains(line, "/")
		line = strings.Trim(line, "/")
		if line == "" {
			continue
		}
		r.segments = strings.Split(line, "/")
		if !anchored {
			r.segments = append([]string{"**"}, r.segments...)
		}
		ig.rules = append(ig.rules, r)
	}
}

// match reports whether name, a slash-separated path, is left out.
func (ig *ignore) match(name string, dir bool) bool {
	out := false
	for _, r := range ig.rules {
		if r.dir && !dir || out != r.not {
			continue
		}
		if matchSegments(r.segments, strings.Split(name, "/")) {
			out = !r.not
		}
	}
	return out
}

func matchSegments(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := range len(name) + 1 {
				if matchSegments(pattern[1:], name[i:]) {
					return len(pattern) > 1 || i < len(name)
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}
