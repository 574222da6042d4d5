package image

// Auth is what a fetch may use to get in. The zero value is anonymous.
type Auth struct {
	// Namespace is the tenant the image is for: of the own registry it sees
	// only its own repositories. Empty sees all.
	Namespace   string
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
// are passed over: they are programs of another machine.
func ParseDockerConfig(data []byte) ([]Credential, error) { return nil, unfinished() }
