package knative

import (
	"fmt"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// What Kubernetes says about names that are none.
const (
	says1035      = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
	saysLong      = "must be no more than 63 characters"
	saysSubdomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	saysQualified = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

// no1035 says why name is no DNS-1035 label: a list in brackets, or "".
func no1035(name string) string {
	var why []string
	if len(name) > api.MaxName {
		why = append(why, saysLong)
	}
	if !is1035(name) {
		why = append(why, says1035)
	}
	if why == nil {
		return ""
	}
	return fmt.Sprint(why)
}

// noPrefix1035 is no1035 for the beginning of a name, which may end in a hyphen.
func noPrefix1035(prefix string) string {
	if len(prefix) > 1 && strings.HasSuffix(prefix, "-") {
		prefix = prefix[:len(prefix)-1] + "a"
	}
	return no1035(prefix)
}

func is1035(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter, digit := c >= 'a' && c <= 'z', c >= '0' && c <= '9'
		if !letter && (i == 0 || !digit && (c != '-' || i == len(s)-1)) {
			return false
		}
	}
	return s != ""
}

// isQualified reports whether s can be the name of an object, or a label key.
func isQualified(s string) bool {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		if api.CheckSubdomain(s[:i]) != "" {
			return false
		}
		s = s[i+1:]
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= api.MaxName
}
