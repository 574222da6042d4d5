package cli

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// imageName is the name of an image: host, path, tag, digest.
var imageName = regexp.MustCompile(`^(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)

// isImage reports whether word, which is no file, means an image: it has a tag or
// a digest, or begins with a registry's host.
func isImage(word string) bool {
	m := imageName.FindStringSubmatch(word)
	if m == nil {
		return false
	}
	host, _, path := strings.Cut(word, "/")
	return m[1] != "" || m[2] != "" || path && strings.ContainsAny(host, ".:") && !strings.HasPrefix(host, ".")
}

// imageSource is the function for an image, named after the last part of its
// path unless name says otherwise.
func imageSource(image string, f deployFlags) (source, error) {
	s := source{path: image, name: f.name, image: image, runtime: api.RuntimeImage}
	switch {
	case f.runtime != "" && f.runtime != api.RuntimeImage:
		return s, usage("--runtime %s: an image brings its own program", f.runtime).WithHint("leave --runtime out")
	case f.handler != "":
		return s, usage("--handler is for code, not for an image").WithHint("--command says what the image runs instead of its entrypoint")
	case f.write:
		return s, usage("--write works with text files and folders").WithHint("hearth get function/NAME -o yaml prints the manifest")
	}
	if s.name == "" {
		base, _, _ := strings.Cut(image, "@")
		base = base[strings.LastIndexByte(base, '/')+1:]
		base, _, _ = strings.Cut(base, ":")
		s.name = toName(base)
	}
	if why := api.CheckName(s.name); why != "" {
		return s, usage("cannot name the function after %s: %s", image, why).WithHint("--name says it")
	}
	return s, nil
}

// servePort reads --port: 9000, or h2c:9000 for HTTP/2 without TLS.
func servePort(text string) (map[string]any, error) {
	protocol, number, ok := strings.Cut(text, ":")
	if !ok {
		protocol, number = "", text
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 65535 || ok && protocol != api.ProtocolH2C && protocol != api.ProtocolHTTP {
		return nil, usage("--port %s is neither a port nor h2c:PORT", text).WithHint("such as --port 9000 or --port h2c:9000")
	}
	port := map[string]any{"number": n}
	if protocol != "" {
		port["protocol"] = protocol
	}
	return port, nil
}
