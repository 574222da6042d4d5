package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox"
)

// environment is the loading of Fission's language servers, unmodified: a
// generic HTTP server that is given code by one POST. Contract v1, v2 and v3 as
// in Fission's environments of June 2026.
type environment struct {
	kind
	binds []sandbox.Bind
}

const (
	fissionPort = 8888
	// fissionDir is where the servers expect user code; some write there.
	fissionDir = "/userfunc"
	// fissionHelper is the sidecar the servers tell about WebSocket sessions;
	// node's answers an error to its client when nobody is there.
	fissionHelper = "127.0.0.1:8000"
)

func newEnvironment(k kind) (*environment, error) {
	if len(k.runtime.Command) == 0 {
		return nil, api.Errorf(api.CodeInvalid, "runtime %s has no command", k.runtime.Name).
			WithHint("set spec.command to the program that starts the environment's server")
	}
	v := &environment{kind: k}
	if k.runtime.Port == 0 {
		v.runtime.Port = fissionPort
	}
	if k.runtime.Folder != "" {
		v.binds = append(v.binds, sandbox.Bind{Source: k.runtime.Folder, Target: runtimeDir})
	}
	for _, name := range []string{api.RuntimeNode, api.RuntimePython} {
		if i := k.engine.find(name); i.Err == nil {
			v.binds = append(v.binds, prefixes(i)...)
		}
	}
	return v, nil
}

// start implements loading.
func (v *environment) start(ctx context.Context, urgent bool) (_ *warm, err error) {
	e := v.engine
	id := e.newID(v.runtime.Name)
	out := newOutput(e.o.Sink, id)
	stdout, stderr, err := out.read.Pipes()
	if err != nil {
		return nil, api.Errorf(api.CodeStartFailed, "start %s: %w", id, err)
	}
	defer stdout.Close()
	defer stderr.Close()
	c := sandbox.Config{
		ID: id, Dir: "/tmp", Network: v.network, Limits: v.defaults(), Init: true, Binds: v.binds,
		Args: v.runtime.Command, Stdout: stdout, Stderr: stderr,
		Env: baseEnv(v.runtime.Env, "RUNTIME_PORT="+strconv.Itoa(v.runtime.Port), "USERFUNCVOL="+fissionDir),
	}
	if v.runtime.Folder != "" {
		c.Dir = runtimeDir
	}
	// The servers write to their code folder: a state file, unpacked archives.
	volume := filepath.Join(e.volumes, id)
	if err := makeVolume(volume); err != nil {
		return nil, err
	}
	c.Binds = append(c.Binds[:len(c.Binds):len(c.Binds)], sandbox.Bind{Source: volume, Target: fissionDir, Write: true})
	box, err := v.startBox(ctx, c, urgent)
	if err != nil {
		os.RemoveAll(volume)
		return nil, err
	}
	w := &warm{id: id, box: box, out: out, volume: volume}
	if err := v.helper(w); err != nil {
		e.log.Debug("no WebSocket helper for an environment", "instance", id, "err", err)
	}
	if err := v.accepts(ctx, w); err != nil {
		w.kill()
		return nil, w.explainStart(err, v.runtime.Name)
	}
	w.ready()
	return w, nil
}

func (v *environment) address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(v.runtime.Port))
}

func (v *environment) dial(w *warm) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return w.box.Dial(ctx, "tcp", v.address()) }
}

// accepts waits until the server accepts connections. It never asks for
// /healthz, which reaches user code in some environments.
func (v *environment) accepts(ctx context.Context, w *warm) error {
	for pause := time.Millisecond; ; pause = min(pause*3/2, 50*time.Millisecond) {
		c, err := v.dial(w)(ctx)
		if err == nil {
			return c.Close()
		}
		select {
		case <-w.box.Done():
			return fmt.Errorf("the server ended: %s", w.box.Exit().Reason)
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on port %d: %w", v.runtime.Port, ctx.Err())
		default:
			wait(ctx, pause)
		}
	}
}

// helper answers 200 to /wsevent/start and /wsevent/end inside the instance's
// network for as long as the instance lives.
func (v *environment) helper(w *warm) error {
	if v.network == "host" {
		return nil // the port would be the machine's
	}
	l, err := w.box.Listen("tcp", fissionHelper)
	if err != nil {
		return err
	}
	s := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/wsevent/") {
				http.NotFound(rw, r)
			}
		}),
	}
	go s.Serve(l)
	go func() {
		<-w.box.Done()
		s.Close()
	}()
	return nil
}

// specialise implements loading.
func (v *environment) specialise(ctx context.Context, i *instance, dir string) error {
	w, s := i.warm, i.spec
	if len(s.Files) > 0 {
		if err := w.box.AttachFiles(s.Files); err != nil {
			return err
		}
	}
	if err := w.box.Limit(withDefaults(s.Limits)); err != nil {
		return err
	}
	path, err := v.place(w, dir)
	if err != nil {
		return err
	}
	if err := v.post(ctx, w, s, path); err != nil {
		return err
	}
	i.protocol, i.dial = api.ProtocolHTTP, v.dial(w)
	return nil
}

// place puts the code where the contract says: v1 one file /userfunc/user; v2
// and v3 /userfunc/deployarchive, a folder, or a file without extension when the
// source was a single file.
func (v *environment) place(w *warm, dir string) (string, error) {
	file, err := singleFile(dir)
	if err != nil {
		return "", err
	}
	v1 := v.runtime.Protocol == api.ProtocolFissionV1
	if v1 && file == "" {
		return "", api.Errorf(api.CodeLoadFailed, "an environment of contract v1 takes a single file").
			WithHint("set protocol: fission/v2 in the runtime, or give one file as source")
	}
	name := "deployarchive"
	if v1 {
		name = "user"
	}
	source, point := dir, filepath.Join(w.volume, name)
	if file == "" {
		err = os.Mkdir(point, 0o755)
	} else {
		source = file
		err = os.WriteFile(point, nil, 0o644)
	}
	if err != nil {
		return "", api.Errorf(api.CodeDisk, "place the code of %s: %w", w.id, err)
	}
	inside := filepath.Join(fissionDir, name)
	return inside, w.box.Attach(source, inside, false)
}

// makeVolume makes a folder any user may write to, below one that only we may
// enter.
func makeVolume(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return api.Errorf(api.CodeDisk, "make the code folder of an environment: %w", err)
	}
	return os.Chmod(dir, 0o777)
}

// singleFile returns the only file of a tree, or "" if there are more.
func singleFile(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", api.Errorf(api.CodeDisk, "read the artifact: %w", err)
	}
	var files []fs.DirEntry
	for _, d := range entries {
		if !strings.HasPrefix(d.Name(), ".hearth") {
			files = append(files, d)
		}
	}
	if len(files) == 1 && files[0].Type().IsRegular() {
		return filepath.Join(dir, files[0].Name()), nil
	}
	return "", nil
}

// post asks the server to load the code; success is any status below 300.
func (v *environment) post(ctx context.Context, w *warm, s *engine.Spec, path string) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return v.dial(w)(ctx) },
	}}
	url, kind, body := "http://"+v.address()+"/v2/specialize", "application/json", []byte(nil)
	if v.runtime.Protocol == api.ProtocolFissionV1 {
		url, kind = "http://"+v.address()+"/specialize", "text/plain"
	} else {
		version := 2
		if v.runtime.Protocol == api.ProtocolFissionV3 {
			version = 3
		}
		meta := map[string]any{"name": s.Function, "namespace": s.Tenant, "uid": "", "resourceVersion": "", "generation": 1}
		for k, val := range s.Metadata {
			meta[k] = val
		}
		var err error
		body, err = json.Marshal(map[string]any{
			"filepath": path, "functionName": s.Handler, "url": "", "FunctionMetadata": meta, "envVersion": version,
		})
		if err != nil {
			return err
		}
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	rq.Header.Set("Content-Type", kind)
	r, err := client.Do(rq)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if r.StatusCode < 300 {
		return nil
	}
	words := strings.TrimSpace(string(text))
	first, _, _ := strings.Cut(words, "\n")
	if first == "" || first == "{}" { // node's server loses the message of an Error
		first = "see the instance's output"
		words = w.out.lastWords()
	}
	e := api.Errorf(api.CodeLoadFailed, "the environment refused the code with status %d: %s", r.StatusCode, first)
	e.Detail = words
	return e
}

// close implements loading.
func (v *environment) close() {}
