package server

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hearth-run/hearth/api"
)

// maxBody is the largest body of a resource request, in bytes.
const maxBody = 3 << 20

// readWait is how long the body of a resource request may take to arrive.
const readWait = 30 * time.Second

// Media types of bodies.
const (
	mediaJSON      = "application/json"
	mediaYAML      = "application/yaml"
	mediaJSONPatch = "application/json-patch+json"
	mediaMerge     = "application/merge-patch+json"
	mediaStrategic = "application/strategic-merge-patch+json"
	mediaApply     = "application/apply-patch+yaml"
)

// body reads the request's body and its media type; YAML becomes JSON.
func body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, string, error) {
	media := mediaJSON
	if ct := r.Header.Get("Content-Type"); ct != "" {
		m, _, err := mime.ParseMediaType(ct)
		if err != nil {
			return nil, "", badRequest("use application/json", "the Content-Type is malformed")
		}
		media = m
	}
	// A body that trickles in must not hold the connection for ever. Writers
	// without deadlines (in tests) say so by an error that means nothing here.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(readWait))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{}) // else it ends the draining of the rest, too
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, "", api.Errorf(api.CodeTooLarge, "the body is larger than %d bytes", limit).WithHint("send large sources as an archive: PUT /hearth/v1/blobs")
	case err != nil:
		return nil, "", badRequest("send the request again", "the body ended too early")
	}
	switch media {
	case mediaYAML, "application/x-yaml", "text/yaml", mediaApply:
		if looksLikeJSON(data) {
			break // JSON keeps its line numbers
		}
		if data, err = yaml.YAMLToJSONStrict(data); err != nil {
			return nil, "", api.Errorf(api.CodeUsage, "the body is not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
	case mediaProtobuf:
		if data, err = protobufToJSON(data); err != nil {
			return nil, "", err
		}
	case mediaJSON, mediaJSONPatch, mediaMerge, mediaStrategic:
	default:
		return nil, "", &fail{
			err:    api.Errorf(api.CodeUsage, "bodies of type %s are not understood", media).WithHint("use application/json or application/yaml"),
			status: http.StatusUnsupportedMediaType, reason: "UnsupportedMediaType",
		}
	}
	return data, media, nil
}

func looksLikeJSON(data []byte) bool {
	s := strings.TrimSpace(string(data[:min(len(data), 64)]))
	return strings.HasPrefix(s, "{") && json.Valid(data)
}

// writeOptions are the query parameters of a write.
type writeOptions struct {
	dryRun     bool
	manager    string // fieldManager, or what the client calls itself
	force      bool
	validation string // Strict, Warn, Ignore
	warnings   []string
	applied    bool // the managed fields are final
}

func parseWriteOptions(r *http.Request) (writeOptions, error) {
	q := r.URL.Query()
	o := writeOptions{manager: q.Get("fieldManager"), force: q.Get("force") == "true", validation: q.Get("fieldValidation")}
	for _, d := range q["dryRun"] {
		switch d {
		case "All":
			o.dryRun = true
		case "":
		default:
			return o, badRequest("use dryRun=All", "dryRun=%q is not possible", d)
		}
	}
	switch o.validation {
	case "":
		o.validation = "Strict"
	case "Strict", "Warn", "Ignore":
	default:
		return o, badRequest("use Strict, Warn or Ignore", "fieldValidation=%q is not possible", o.validation)
	}
	if o.manager == "" {
		// As clients expect: the part of the User-Agent before the slash.
		o.manager, _, _ = strings.Cut(r.UserAgent(), "/")
	}
	if o.manager == "" {
		o.manager = "unknown"
	}
	if len(o.manager) > 128 {
		return o, badRequest("use a shorter fieldManager", "fieldManager has %d characters; at most 128 are possible", len(o.manager))
	}
	return o, nil
}

// fields checks the names and types in data, as strictly as was asked, and
// returns it as an object in stored form. Warnings are added to o.
func (o *writeOptions) fields(k api.Kind, name string, data []byte, partial bool) (object, error) {
	check := api.CheckFields
	if partial {
		check = api.CheckPartial
	}
	var bad []api.FieldError
	for _, e := range check(k, data) {
		unknown := e.Rule == api.RuleUnknown || e.Rule == api.RuleTwice
		switch {
		case unknown && o.validation == "Ignore":
		case unknown && o.validation == "Warn":
			o.warnings = append(o.warnings, e.String())
		default:
			bad = append(bad, e)
		}
	}
	if len(bad) > 0 {
		return nil, invalid(k, name, bad)
	}
	obj, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	api.Normal(k, obj)
	return obj, nil
}

// warn puts warnings into headers, as clients show them.
func warn(w http.ResponseWriter, warnings []string) {
	for _, t := range warnings {
		t = strings.Map(func(r rune) rune {
			if r < ' ' || r == '"' || r == '\\' {
				return '\''
			}
			return r
		}, t)
		w.Header().Add("Warning", `299 - "`+t+`"`)
	}
}
