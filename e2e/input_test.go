package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/token"
)

// status is the API's form of an error.
type status struct {
	Kind, Status, Message, Reason, Hint string
	Code                                int
	Details                             struct {
		Causes []struct{ Reason, Message, Field string }
	}
}

// raw sends a request to the API as it is.
func (s *server) raw(method, path, media, token, body string) (int, status, string) {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.ca)
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}, Timeout: patience}
	r, err := http.NewRequest(method, s.api+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := h.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	var st status
	json.Unmarshal(b, &st)
	return res.StatusCode, st, string(b)
}

const functionsPath = "/apis/hearth.run/v1/namespaces/default/functions"

func TestBadObjects(t *testing.T) {
	s := up(t)
	s.deploy("good", "runtime: node\n"+inline("export default () => 'good'"))
	head := "apiVersion: hearth.run/v1\nkind: Function\nmetadata: {name: bad}\n"
	for _, c := range []struct {
		name, path, body string
		code             int
		want             []string
	}{
		{"malformed YAML", "", head + "spec: {source: [\n", 400, []string{"YAML"}},
		{"malformed JSON", "", `{"kind": "Function",`, 400, []string{""}},
		{"another kind", "", "apiVersion: hearth.run/v1\nkind: Funktion\nmetadata: {name: bad}\nspec: {source: {inline: x}}\n", 422, []string{"Funktion", "must be Function"}},
		{"unknown path", "/apis/hearth.run/v1/namespaces/default/funktions", head, 404, []string{"did you mean functions?"}},
		{"unknown field", "", head + "spec:\n  source: {inline: x}\n  handlr: main\n", 422, []string{"spec.handlr", `did you mean "handler"`}},
		{"unknown field in JSON", "", "{\"apiVersion\":\"hearth.run/v1\",\"kind\":\"Function\",\"metadata\":{\"name\":\"bad\"},\n\"spec\":{\"source\":{\"inline\":\"x\"},\n\"tmeout\":\"1s\"}}", 422, []string{"line 3", "spec.tmeout", `did you mean "timeout"`}},
		{"name is no DNS label", "", strings.Replace(head, "name: bad", "name: Bad_Name.x", 1) + "spec: {source: {inline: x}}\n", 422, []string{"metadata.name"}},
		{"name too long", "", strings.Replace(head, "name: bad", "name: "+strings.Repeat("a", 64), 1) + "spec: {source: {inline: x}}\n", 422, []string{"metadata.name"}},
		{"two sources", "", head + "spec: {source: {inline: x, folder: /tmp}}\n", 422, []string{"spec.source"}},
		{"no source", "", head + "spec: {source: {}}\n", 422, []string{"spec.source"}},
		{"file that leaves the folder", "", head + "spec: {source: {files: {'../x.js': y}}}\n", 422, []string{"../x.js"}},
		{"quantity", "", head + "spec: {source: {inline: x}, limits: {memory: lots}}\n", 422, []string{"spec.limits.memory"}},
		{"negative", "", head + "spec: {source: {inline: x}, scale: {min: -1}}\n", 422, []string{"spec.scale.min"}},
		{"min above max", "", head + "spec: {source: {inline: x}, scale: {min: 5, max: 2}}\n", 422, []string{"spec.scale"}},
		{"wrong type", "", head + "spec: {source: {inline: x}, concurrency: many}\n", 422, []string{"spec.concurrency", "number"}},
		{"too large", "", head + "spec: {source: {inline: '" + strings.Repeat("x", 4<<20) + "'}}\n", 413, []string{"larger"}},
		{"a digest that is none", "", head + "spec: {source: {archive: {blob: 'sha256:zz'}}}\n", 422, []string{"spec.source.archive"}},
		{"url without a sum", "", head + "spec: {source: {archive: {url: 'http://localhost/x.zip'}}}\n", 422, []string{"checksum"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			path := c.path
			if path == "" {
				path = functionsPath
			}
			code, st, body := s.raw("POST", path, "application/yaml", s.token, c.body)
			if code != c.code && !(c.code == 422 && code == 400) || st.Kind != "Status" || st.Code != code || st.Status != "Failure" || st.Reason == "" || st.Message == "" {
				t.Errorf("status %d, want %d: %s", code, c.code, tail(body, 900))
			}
			for _, w := range c.want {
				if !strings.Contains(body, strings.ReplaceAll(w, `"`, `\"`)) {
					t.Errorf("%q is not said: %s", w, tail(body, 900))
				}
			}
			if !strings.Contains(body, "hint") && !strings.Contains(body, "did you mean") {
				t.Errorf("no hint: %s", tail(body, 900))
			}
			if _, err := s.c.Get(t.Context(), kind("Function"), "bad"); !api.IsCode(err, api.CodeNotFound) {
				t.Errorf("half of it was kept: %v", err)
			}
		})
	}
	t.Run("command line names the line", func(t *testing.T) {
		s := s.in(t)
		file := filepath.Join(t.TempDir(), "bad.yaml")
		write(t, file, head+"spec:\n  source: {inline: x}\n  handlr: main\n")
		_, talk, code := s.run("apply", "-f", file)
		if code == 0 || !strings.Contains(talk, "handlr") || !strings.Contains(talk, "6") || !strings.Contains(talk, `did you mean "handler"?`) {
			t.Errorf("%d %s", code, talk)
		}
	})
	if got := s.must("good", "/"); got != "good" {
		t.Error(got)
	}
}

func TestBadSources(t *testing.T) {
	s := up(t)
	s.deploy("good", "runtime: node\n"+inline("export default () => 'good'"))
	tarball := func(names ...string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for _, n := range names {
			h := &tar.Header{Name: n, Mode: 0o644, Size: 1, Typeflag: tar.TypeReg}
			if name, to, ok := strings.Cut(n, " -> "); ok {
				h = &tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
			}
			w.WriteHeader(h)
			if h.Size == 1 {
				w.Write([]byte("x"))
			}
		}
		w.Close()
		z.Close()
		return b.Bytes()
	}
	zipped := func(name string, size int64) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		f, _ := w.Create(name)
		io.CopyN(f, zeros{}, size)
		w.Close()
		return b.Bytes()
	}
	for _, c := range []struct {
		name    string
		archive []byte
		spec    string // instead of the archive
		reason  string
		want    string
	}{
		{name: "dotdot", archive: tarball("index.js", "../../evil"), reason: "UnsafeArchive", want: "../../evil"},
		{name: "absolute", archive: tarball("index.js", "/etc/evil"), reason: "UnsafeArchive", want: "/etc/evil"},
		{name: "symlink", archive: tarball("index.js", "out -> /etc"), reason: "UnsafeArchive", want: "out"},
		{name: "zipdotdot", archive: zipped("../evil.js", 1), reason: "UnsafeArchive", want: "../evil.js"},
		{name: "zipbomb", archive: zipped("index.js", 3<<30), reason: "BuildFailed", want: "unpacks to more than"},
		{name: "noarchive", archive: []byte("this is no archive at all"), reason: "BuildFailed", want: "archive"},
		{name: "missing", spec: "source: {archive: {blob: 'sha256:" + strings.Repeat("0", 64) + "'}}\n", reason: "SourceUnavailable", want: ""},
		{name: "handler", spec: "handler: index.nothing\n" + inline("exports.other = () => 1"), reason: "LoadFailed", want: "nothing"},
		{name: "file", spec: "handler: absent.main\n" + files(map[string]string{"there.js": "exports.main = () => 1"}), reason: "LoadFailed", want: "absent"},
		{name: "throws", spec: inline("throw new Error('no way')"), reason: "LoadFailed", want: "no way"},
		{name: "syntax", spec: inline("exports.main = () => {{{"), reason: "BuildFailed", want: ":1:"},
		{name: "runtime", spec: "runtime: nodes\n" + inline("exports.main = () => 1"), reason: "RuntimeMissing", want: "nodes"},
		{name: "secret", spec: "secrets: [nothere]\n" + inline("exports.main = () => 1"), reason: "MissingReference", want: "nothere"},
		{name: "folder", spec: "source: {folder: /nonexistent/folder}\n", reason: "", want: "/nonexistent/folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			text := c.spec
			if !strings.Contains(text, "runtime:") {
				text = "runtime: node\n" + text
			}
			if c.archive != nil {
				digest, _, err := s.c.UploadBlob(t.Context(), bytes.NewReader(c.archive))
				if err != nil {
					t.Fatal(err)
				}
				text = "runtime: node\nsource: {archive: {blob: '" + digest + "'}}\n"
			}
			begin := time.Now()
			f := s.settle(c.name, text)
			u, _ := f.Status.Conditions.Get(api.ConditionUpdated)
			if c.reason != "" && u.Reason != c.reason || u.Status != api.False || !strings.Contains(u.Message, c.want) || u.Message == "" || u.Hint == "" {
				t.Errorf("after %s the verdict is %+v, want %s with %q", time.Since(begin), u, c.reason, c.want)
			}
			if f.Status.Conditions.Ready() || f.Status.LatestReadyRevision != "" {
				t.Error("it is ready all the same")
			}
			if a := s.get(c.name, "/"); a.status != 503 || a.header.Get("X-Hearth-Error") != "not_ready" {
				t.Errorf("a call gets %s", a)
			}
			if d, _, _ := s.run("describe", c.name); !strings.Contains(strings.SplitN(d, "\n", 2)[0], "not ready") || !strings.Contains(d, c.want) {
				t.Errorf("describe says %s", d)
			}
			// The mistake mended, all is well.
			s.deploy(c.name, "runtime: node\n"+inline("export default () => 'mended'"))
			if got := s.must(c.name, "/"); got != "mended" {
				t.Error(got)
			}
		})
	}

	t.Run("checksum", func(t *testing.T) {
		s := s.in(t)
		archive := zipped("index.js", 1)
		served := newFile(t, archive)
		wrong := hex.EncodeToString(make([]byte, 32))
		f := s.settle("sum", "runtime: node\nsource: {archive: {url: '"+served+"', checksum: {type: sha256, sum: '"+wrong+"'}}}\n")
		u, _ := f.Status.Conditions.Get(api.ConditionUpdated)
		sum := sha256.Sum256(archive)
		if u.Reason != "ChecksumMismatch" || !strings.Contains(u.Message+u.Hint, hex.EncodeToString(sum[:])) || !strings.Contains(u.Message, wrong) {
			t.Errorf("%+v", u)
		}
	})
	if got := s.must("good", "/"); got != "good" {
		t.Error(got)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestCallers(t *testing.T) {
	s := up(t)
	s.deploy("f", "runtime: node\n"+inline("export default () => 'x'"))
	tokens, err := token.Open(filepath.Join(s.state, "token.key"))
	if err != nil {
		t.Fatal(err)
	}
	issue := func(ttl time.Duration, c identity.Caller) string {
		text, err := tokens.Issue(context.Background(), c, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	expired := issue(time.Millisecond, identity.Caller{Name: "late", Roles: []string{identity.RoleAdmin}})
	viewer := issue(0, identity.Caller{Name: "alice", Roles: []string{identity.RoleViewer}})
	tenant := issue(0, identity.Caller{Name: "bob", Roles: []string{identity.RoleAdmin}, Namespaces: []string{"shop"}})
	eventually(t, patience, "the token expires", func() bool {
		code, _, _ := s.raw("GET", functionsPath, "", expired, "")
		return code == 401
	})
	for _, c := range []struct {
		name, method, path, token string
		code                      int
		reason, want              string
	}{
		{"no token", "GET", functionsPath, "", 401, "Unauthorized", "token"},
		{"damaged", "GET", functionsPath, s.token[:len(s.token)-2] + "xx", 401, "Unauthorized", ""},
		{"nonsense", "GET", functionsPath, "nonsense", 401, "Unauthorized", ""},
		{"expired", "GET", functionsPath, expired, 401, "Unauthorized", "expired"},
		{"viewer reads", "GET", functionsPath, viewer, 200, "", ""},
		{"viewer deletes", "DELETE", functionsPath + "/f", viewer, 403, "Forbidden", "alice may not delete"},
		{"viewer invokes", "POST", functionsPath + "/f/invoke/", viewer, 403, "Forbidden", "viewer"},
		{"viewer reads secrets", "GET", "/api/v1/namespaces/default/secrets", viewer, 403, "Forbidden", "alice may not list"},
		{"other tenant", "GET", functionsPath, tenant, 403, "Forbidden", "shop"},
		{"admin", "GET", functionsPath + "/f", s.token, 200, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			code, st, body := s.raw(c.method, c.path, "application/json", c.token, "")
			if code != c.code || code >= 400 && (st.Kind != "Status" || st.Reason != c.reason || st.Code != code || !strings.Contains(st.Message, c.want) || !strings.Contains(body, "int")) {
				t.Errorf("%d, want %d: %s", code, c.code, tail(body, 600))
			}
		})
	}
	weak, err := client.New(client.Config{URL: s.api, CA: s.ca, Token: viewer})
	if err != nil {
		t.Fatal(err)
	}
	defer weak.Close()
	if _, err := weak.Get(t.Context(), kind("Function"), "f"); err != nil {
		t.Error(err)
	}
	if got := s.must("f", "/"); got != "x" {
		t.Error(got)
	}
	cmd := hearth(s.state, "get", "functions")
	cmd.Env = append(cmd.Env, "HEARTH_URL="+s.api, "HEARTH_TOKEN=nonsense", "HEARTH_CA="+filepath.Join(s.state, "ca.crt"))
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 4 || !strings.Contains(string(out), "hint: ") {
		t.Errorf("the command with a damaged token: %d %s", cmd.ProcessState.ExitCode(), out)
	}
}
