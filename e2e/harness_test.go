package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/core/record"
)

// patience is how long a test waits for what comes at once unless something is
// broken, or the machine has much else to do.
const patience = 2 * time.Minute

// binary is the hearth under test, built once.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv("HEARTH_E2E_GRPC") != "" {
		serveGRPC()
		return
	}
	http.DefaultClient.Timeout = patience // a call that hangs fails its test, not the run
	switch os.Getenv("HEARTH_E2E_PART") {
	case "neighbour":
		beNeighbour()
	case "machine":
		binary = os.Getenv("HEARTH_E2E_BINARY")
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "hearth-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Chmod(dir, 0o755)
	binary = filepath.Join(dir, "hearth")
	cmd := exec.Command("go", "build", "-o", binary, "../cmd/hearth")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	code := 1
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s\n%v\n", out, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a running hearth up.
type server struct {
	t       testing.TB
	cmd     *exec.Cmd
	pid     int
	state   string
	gateway string // host:port
	api     string // https://localhost:…
	token   string
	ca      []byte
	c       *client.Client
	err     *buffer
	done    chan struct{} // closed when the process has ended
	result  error         // of Wait
}

// buffer is text written by one goroutine and read by others.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// hearth prepares a command with an environment of its own.
func hearth(state string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	home := filepath.Join(state, "home")
	cmd.Env = []string{"HOME=" + home, "NO_COLOR=1", "PATH=" + os.Getenv("PATH"), "TOP_SECRET=of-hearth"}
	for _, v := range []string{"GOMODCACHE", "GOPROXY", "GOFLAGS", "GOSUMDB", "GONOSUMDB", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy", "npm_config_registry", "PIP_INDEX_URL", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} {
		if x, ok := os.LookupEnv(v); ok && v != "GOFLAGS" {
			cmd.Env = append(cmd.Env, v+"="+x)
		}
	}
	return cmd
}

// up starts hearth up in a new state folder and stops it when the test ends;
// ending in any other way than with status 0 fails the test.
func up(t testing.TB, args ...string) *server {
	t.Helper()
	return upIn(t, t.TempDir(), args...)
}

func upIn(t testing.TB, state string, args ...string) *server {
	t.Helper()
	s := launch(t, state, args...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("hearth up said:\n%s", tail(s.err.String(), 6000))
		}
		s.stop()
	})
	return s
}

func launch(t testing.TB, state string, args ...string) *server {
	t.Helper()
	s := &server{t: t, state: state, err: &buffer{}, done: make(chan struct{})}
	os.MkdirAll(filepath.Join(state, "home"), 0o755)
	s.cmd = hearth(state, append([]string{"up", "--state", state, "--gateway-port", "0", "--api-port", "0", "-o", "json", "--verbose"}, args...)...)
	s.cmd.Dir = state
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.err
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.pid = s.cmd.Process.Pid
	var banner struct{ API, Gateway, State string }
	derr := json.NewDecoder(out).Decode(&banner)
	go func() {
		io.Copy(io.Discard, out)
		s.result = s.cmd.Wait()
		close(s.done)
	}()
	if derr != nil {
		<-s.done
		t.Fatalf("hearth up did not start: %v: %v\n%s", derr, s.result, s.err)
	}
	s.api = banner.API
	_, s.gateway, _ = strings.Cut(banner.Gateway, "://")
	var ctx struct{ URL, Token, CA string }
	b, err := os.ReadFile(filepath.Join(state, "context.json"))
	if err == nil {
		err = json.Unmarshal(b, &ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.token, s.ca = ctx.Token, []byte(ctx.CA)
	if s.c, err = client.New(client.Config{URL: ctx.URL, Token: ctx.Token, CA: s.ca}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.c.Close)
	return s
}

// stop ends hearth in good order, if it still runs.
func (s *server) stop() {
	s.t.Helper()
	select {
	case <-s.done:
		return
	default:
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(patience):
		s.cmd.Process.Signal(syscall.SIGQUIT)
		<-s.done
		s.t.Errorf("hearth did not stop within %s of SIGTERM:\n%s", patience, tail(s.err.String(), 20000))
		return
	}
	if s.result != nil {
		s.t.Errorf("hearth up ended with %v", s.result)
	}
}

// kill ends hearth without warning.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// run executes another hearth command against s.
func (s *server) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := hearth(s.state, args...)
	cmd.Dir = s.state
	cmd.Env = append(cmd.Env, "HEARTH_URL="+s.api, "HEARTH_TOKEN="+s.token, "HEARTH_CA="+filepath.Join(s.state, "ca.crt"))
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Start()
	if err == nil {
		late := time.AfterFunc(3*patience, func() { cmd.Process.Signal(syscall.SIGQUIT) }) // it shows where it hangs
		err = cmd.Wait()
		late.Stop()
	}
	var x *exec.ExitError
	switch {
	case errors.As(err, &x):
		code = x.ExitCode()
	case err != nil:
		s.t.Fatal(err)
	}
	return o.String(), e.String(), code
}

func kind(name string) api.Kind {
	for _, k := range api.Kinds() {
		if k.Kind == name {
			return k
		}
	}
	panic("no kind " + name)
}

// apply writes an object; spec is YAML.
func (s *server) apply(kindName, name, spec string) error {
	_, err := s.applyIn(api.DefaultNamespace, kindName, name, spec)
	return err
}

func (s *server) applyIn(ns, kindName, name, spec string) (client.Object, error) {
	k := kind(kindName)
	text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %q}\n%s", k.APIVersion(), k.Kind, name, spec)
	b, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		s.t.Fatalf("%v in\n%s", err, text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.c.In(ns).Apply(ctx, k, name, b, client.WriteOptions{Force: true})
}

// spec puts a spec's YAML, indented by its author, below spec.
func spec(text string) string {
	var b strings.Builder
	b.WriteString("spec:\n")
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String() + "\n"
}

// inline is a source of one file as YAML.
func inline(code string) string {
	b, _ := json.Marshal(code)
	return "source: {inline: " + string(b) + "}\n"
}

// files is a source of several files.
func files(of map[string]string) string {
	b, _ := json.Marshal(of)
	return "source: {files: " + string(b) + "}\n"
}

// deploy applies a function and waits until it serves its newest spec.
func (s *server) deploy(name, text string) *api.Function {
	s.t.Helper()
	f := s.settle(name, text)
	if c, _ := f.Status.Conditions.Get(api.ConditionUpdated); c.Status != api.True {
		s.t.Fatalf("function %s is not served: %s: %s", name, c.Reason, c.Message)
	}
	return f
}

// settle applies a function and waits for the verdict about it.
func (s *server) settle(name, text string) *api.Function {
	s.t.Helper()
	return s.settleIn(api.DefaultNamespace, name, text)
}

func (s *server) settleIn(ns, name, text string) *api.Function {
	s.t.Helper()
	o, err := s.applyIn(ns, "Function", name, spec(text))
	if err != nil {
		s.t.Fatalf("apply %s: %v %v", name, err, api.AsError(err).Fields)
	}
	return s.verdict(ns, name, o.Meta.Generation)
}

func (s *server) verdict(ns, name string, generation int64) *api.Function {
	s.t.Helper()
	return until(s, kind("Function"), ns, name, func(f *api.Function) bool {
		c, _ := f.Status.Conditions.Get(api.ConditionUpdated)
		return f.Status.ObservedGeneration >= generation && c.ObservedGeneration >= generation && (c.Status == api.True || c.Status == api.False)
	})
}

// until follows an object until ok says so.
func until[T any](s *server, k api.Kind, ns, name string, ok func(*T) bool) *T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	var last *T
	for ctx.Err() == nil {
		for e, err := range s.c.In(ns).Watch(ctx, k, client.ListOptions{Fields: "metadata.name=" + name}, "") {
			if err != nil {
				s.t.Fatalf("watch %s: %v", name, err)
			}
			v, err := client.As[T](e.Object, nil)
			if err != nil {
				s.t.Fatal(err)
			}
			if last = v; ok(v) {
				return v
			}
		}
	}
	b, _ := json.MarshalIndent(last, "", " ")
	s.t.Fatalf("%s %s did not become what was waited for: %s", k.Kind, name, b)
	return nil
}

// eventually polls a condition of the machine that nothing announces.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(within); ; {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Errorf("not within %s: %s", within, what)
			return
		}
	}
}

// answer is what the gateway said.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (a answer) String() string {
	return fmt.Sprintf("%d %v %q %v", a.status, a.header["X-Hearth-Error"], tail(a.body, 600), a.err)
}

// web calls the gateway, a connection of its own for each server.
func (s *server) web() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", s.gateway)
			},
			MaxIdleConnsPerHost: 64,
		},
		Timeout: patience,
	}
}

// get calls a function under its own name.
func (s *server) get(name, path string) answer {
	return s.do(http.DefaultClient, "GET", name, path, "")
}

func (s *server) do(c *http.Client, method, name, path, body string) answer {
	r, err := http.NewRequest(method, "http://"+s.gateway+path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	if r.Host = name + ".localhost"; strings.HasSuffix(name, "|") {
		r.Host = strings.TrimSuffix(name, "|") // a whole host name
	}
	return ask(c, r)
}

func ask(c *http.Client, r *http.Request) answer {
	res, err := c.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: string(b), err: err}
}

// must calls a function that has to answer 200 and returns the body.
func (s *server) must(name, path string) string {
	s.t.Helper()
	a := s.get(name, path)
	if a.err != nil || a.status != 200 {
		s.t.Fatalf("GET %s%s: %s", name, path, a)
	}
	return a.body
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// load calls a function and the API all the time until it is stopped, and
// counts.
type load struct {
	mu     sync.Mutex
	calls  int
	failed []string
	cancel context.CancelFunc
	wg     sync.WaitGroup
	seen   map[string]int
}

// load starts so many callers of a function; each answer must be 200 and ok.
func (s *server) load(name string, callers int, ok func(body string) bool) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, seen: map[string]int{}}
	note := func(failure string, a answer) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls++
		if failure != "" {
			l.failed = append(l.failed, time.Now().Format("15:04:05.000 ")+failure)
		} else {
			l.seen[a.body]++
		}
	}
	web := s.web()
	for range callers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				a := s.do(web, "GET", name, "/", "")
				if a.err != nil || a.status != 200 || ok != nil && !ok(a.body) {
					note(name+": "+a.String(), a)
				} else {
					note("", a)
				}
			}
		})
	}
	l.wg.Go(func() {
		for ctx.Err() == nil {
			c, cancel := context.WithTimeout(context.Background(), patience)
			_, err := s.c.Get(c, kind("Function"), name)
			cancel()
			if err != nil {
				note("API: "+err.Error(), answer{})
			}
		}
	})
	return l
}

// count is how many calls were answered so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// saw tells whether a call was answered so.
func (l *load) saw(body string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[body] > 0
}

// stop ends the load; failed calls fail the test.
func (l *load) stop(t testing.TB) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	if len(l.failed) > 0 {
		t.Errorf("%d of %d calls failed, such as %s", len(l.failed), l.calls, strings.Join(l.failed[:min(5, len(l.failed))], "\n\t"))
	}
	if l.calls < 10 {
		t.Errorf("only %d calls were made", l.calls)
	}
}

// logsOf selects a function's lines, old and new.
func logsOf(name string) record.Query { return record.Query{Function: name, Follow: true} }
