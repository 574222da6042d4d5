package registry

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// name is a repository: namespace/rest.
type name struct{ namespace, rest string }

func (n name) String() string { return n.namespace + "/" + n.rest }

var (
	elements = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$`)
	tagForm  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// parseName checks a repository's name.
func parseName(s string) (name, error) {
	bad := func(why string) (name, error) {
		return name{}, &failure{http.StatusBadRequest, "NAME_INVALID", "the repository " + s + " " + why}
	}
	if len(s) > 255 {
		return name{}, &failure{http.StatusBadRequest, "NAME_INVALID", "the repository's name is longer than 255 characters"}
	}
	ns, rest, ok := strings.Cut(s, "/")
	if !ok {
		return bad("names no tenant: it must be NAMESPACE/NAME, such as default/" + s)
	}
	for part := range strings.SplitSeq(s, "/") {
		if !elements.MatchString(part) {
			return bad("has a part that is no word of a-z, 0-9, dots, dashes and underscores")
		}
	}
	return name{ns, rest}, nil
}

// folder is the repository's folder below repos; a slash within rest is written
// as another character than names have.
func (n name) folder() []string {
	return []string{n.namespace, strings.ReplaceAll(n.rest, "/", "+")}
}

func nameOf(namespace, folder string) name {
	return name{namespace, strings.ReplaceAll(folder, "+", "/")}
}

// digest is the 64 digits of a SHA-256.
type digest string

func (d digest) String() string { return "sha256:" + string(d) }

func parseDigest(s string) (digest, error) {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", &failure{http.StatusBadRequest, "DIGEST_INVALID", "a digest is sha256: and 64 hexadecimal digits here"}
	}
	return digest(hex), nil
}

func isDigest(s string) bool { return strings.Contains(s, ":") }

// split takes a path apart: repository, what of it (blobs, uploads, manifests,
// tags, referrers) and which. Names may hold the same words, so it is read from
// the end.
func split(path string) (n name, what, arg string, err error) {
	repo := ""
	parts := strings.Split(path, "/")
	last := len(parts) - 1
	switch {
	case last >= 3 && parts[last-2] == "blobs" && parts[last-1] == "uploads":
		repo, what, arg = strings.Join(parts[:last-2], "/"), "uploads", parts[last]
	case last >= 2 && parts[last-1] == "blobs" && parts[last] == "uploads":
		repo, what = strings.Join(parts[:last-1], "/"), "uploads"
	case last >= 2:
		repo, what, arg = strings.Join(parts[:last-1], "/"), parts[last-1], parts[last]
	default:
		return n, "", "", errNoPath()
	}
	switch what {
	case "blobs", "uploads", "manifests", "tags", "referrers":
	default:
		return n, "", "", errNoPath()
	}
	if arg, err = url.PathUnescape(arg); err != nil {
		return n, "", "", errNoPath()
	}
	n, err = parseName(repo)
	return n, what, arg, err
}
