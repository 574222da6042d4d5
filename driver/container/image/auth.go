package image

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/hearth-run/hearth/api"
)

// Auth is what a fetch may use to get in. The zero value is anonymous.
type Auth struct {
	// Namespace is the tenant the image is for: of the own registry it sees
	// only its own repositories. Empty sees all.
	Namespace string
	// Credentials are tried in order, the longest Match first.
	Credentials []Credential
}

// Credential opens the repositories Match covers.
type Credential struct {
	// Match is a registry host with an optional port and path prefix:
	// ghcr.io, *.example.com, registry.example.com:5000/team.
	Match              string
	Username, Password string
	IdentityToken      string // an OAuth refresh token, instead of a password
	RegistryToken      string // a bearer token, sent as it is
}

// ParseDockerConfig reads the credentials of a Secret of type
// kubernetes.io/dockerconfigjson (its .dockerconfigjson), of type
// kubernetes.io/dockercfg, or of Docker's config.json. Credential helpers in it
// are passed over: they are programs of another machine. No secret is part of
// its errors.
func ParseDockerConfig(data []byte) ([]Credential, error) {
	type entry struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	}
	bad := func(why string) error {
		return api.Errorf(api.CodeInvalid, "the registry credentials are no Docker configuration: %s", why).
			WithHint("kubectl create secret docker-registry NAME --docker-server HOST --docker-username USER --docker-password PASSWORD makes one")
	}
	var config struct {
		Auths map[string]entry `json:"auths"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, bad("it is not JSON of the right form")
	}
	if config.Auths == nil && !bytes.Contains(data, []byte(`"auths"`)) {
		// The older form is the map itself; other keys of config.json have
		// values of other kinds.
		var old map[string]json.RawMessage
		if err := json.Unmarshal(data, &old); err != nil {
			return nil, bad("it is no object")
		}
		config.Auths = map[string]entry{}
		for host, raw := range old {
			var e entry
			if json.Unmarshal(raw, &e) == nil && e != (entry{}) {
				config.Auths[host] = e
			}
		}
	}
	var all []Credential
	for host, e := range config.Auths {
		c := Credential{Match: registryOf(host), Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
		if e.Auth != "" {
			text, err := decodeBase64(e.Auth)
			user, password, ok := strings.Cut(text, ":")
			if err != nil || !ok {
				return nil, bad("auth of " + c.Match + " is not USER:PASSWORD in base64")
			}
			c.Username, c.Password = user, strings.TrimRight(password, "\x00")
		}
		if c.Username == "" && c.Password == "" && c.IdentityToken == "" && c.RegistryToken == "" {
			continue // kept by a credential helper
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Credential) int {
		return cmp.Or(cmp.Compare(len(b.Match), len(a.Match)), cmp.Compare(a.Match, b.Match))
	})
	return all, nil
}

func decodeBase64(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(s)
	}
	return string(b), err
}

// registryOf turns a key of a Docker configuration into host[:port][/path]:
// https://index.docker.io/v1/ is how Docker writes its own hub.
func registryOf(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	key = strings.TrimSuffix(key, "/")
	host, rest, _ := strings.Cut(key, "/")
	if rest == "v1" || rest == "v2" {
		rest = ""
	}
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = "index.docker.io"
	}
	if rest != "" {
		return host + "/" + rest
	}
	return host
}

// covers reports whether the credential is for a repository of host.
func (c Credential) covers(host, repository string) bool {
	pattern, prefix, _ := strings.Cut(registryOf(c.Match), "/")
	if prefix != "" && repository != prefix && !strings.HasPrefix(repository, prefix+"/") {
		return false
	}
	if pattern == host {
		return true
	}
	// A star stands for one label and never for the port, as in Kubernetes.
	pn, pp, _ := strings.Cut(pattern, ":")
	hn, hp, _ := strings.Cut(host, ":")
	want, have := strings.Split(pn, "."), strings.Split(hn, ".")
	if pp != hp || len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// authenticators are what to try for a repository, best first, at last nothing.
func (a Auth) authenticators(r reference) []authn.Authenticator {
	if r.local {
		return []authn.Authenticator{authn.Anonymous}
	}
	var fit []Credential
	for _, c := range a.Credentials {
		if c.covers(r.Context().RegistryStr(), r.Context().RepositoryStr()) {
			fit = append(fit, c)
		}
	}
	slices.SortStableFunc(fit, func(x, y Credential) int { return cmp.Compare(len(y.Match), len(x.Match)) })
	var all []authn.Authenticator
	for _, c := range fit {
		all = append(all, authn.FromConfig(authn.AuthConfig{
			Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
		}))
	}
	return append(all, authn.Anonymous)
}
