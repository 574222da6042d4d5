package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/binding"
	"github.com/hearth-run/hearth/control/build"
	"github.com/hearth-run/hearth/control/reconcile"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/process"
	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/runtime/golang"
	"github.com/hearth-run/hearth/serve/gateway"
	"github.com/hearth-run/hearth/serve/scale"
)

// assemble makes the parts and plugs them into each other.
func (n *Node) assemble() (err error) {
	log := n.cfg.Log
	tokens, err := n.tokens()
	if err != nil {
		return err
	}
	n.binder = binding.New(n.store, binding.Options{Tokens: tokens, Machine: machine(n.State)})
	n.scaler = scale.New(scale.Config{Engine: n.engines, Spec: n.binder.Spec, Pressed: memoryShort, Log: log})
	n.gateway = gateway.New(gateway.Config{Store: n.store, Waker: n.scaler, Records: n.records, Log: log, Domain: n.cfg.Domain, TLSPort: n.tlsPort(), ACME: n.acme(), Tenant: n.engine.Host().TenantAt})
	n.builder, err = build.New(build.Config{
		Blobs: n.blobs, Runner: runner{n.engine}, Folders: n.cfg.Folders, Cache: filepath.Join(n.State, "build"),
		Find: n.tool, Detect: detect, WrapGo: golang.Wrap, Resolve: n.binder.Env, Progress: n.cfg.Progress, Log: log,
	})
	if err != nil {
		return err
	}
	n.loops = reconcile.New(reconcile.Config{
		Store: n.store, Build: n.build, References: n.binder.Check, Check: n.check, Waits: n.waits, Probe: n.probe,
		URL: n.functionURL, RouteURL: n.routeURL, Retire: n.scaler.Retire, Observe: n.gateway.Observe, Findings: n.engines.Findings,
		Blobs: n.blobs, Kept: n.builder.Kept, Forget: n.engines.Forget, Log: log,
	})
	n.foreign = n.foreignLoop()
	return nil
}

// runner runs the commands of builds in boxes of the process engine.
type runner struct{ engine *process.Engine }

// Run implements build.Runner.
func (r runner) Run(ctx context.Context, t build.Task, out io.Writer) (int, error) {
	if t.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.Timeout)
		defer cancel()
	}
	if t.CacheDir != "" {
		if err := os.MkdirAll(t.CacheDir, 0o755); err != nil {
			return -1, api.Errorf(api.CodeDisk, "make the build cache: %w", err)
		}
	}
	return r.engine.RunTask(ctx, process.Task{
		Dir: t.Dir, Cwd: t.Cwd, Cache: t.CacheDir, Command: t.Command, Env: t.Env, Network: t.Network,
	}, out)
}

func (n *Node) build(ctx context.Context, r reconcile.BuildRequest) (reconcile.Built, error) {
	if r.Function.Spec.Source.Image != "" {
		return n.buildImage(ctx, r)
	}
	res, err := n.builder.Build(ctx, build.Request{Namespace: r.Namespace, Function: r.Function, Runtime: r.Runtime, Spec: r.Spec})
	return reconcile.Built{
		Artifact: res.Artifact, Source: res.SourceDigest, Handler: res.Handler, Log: res.LogDigest, Runtime: res.Runtime, Duration: res.Duration,
	}, err
}

// verified remembers what was seen to load, so that equal revisions of many
// functions are started once.
type verified struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// fresh reports whether key was verified within the last hour, and notes that it
// is being used.
func (v *verified) fresh(key string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.seen[key]
	return ok && time.Since(t) < time.Hour
}

func (v *verified) add(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || len(v.seen) > 4096 {
		v.seen = map[string]time.Time{}
	}
	v.seen[key] = time.Now()
}

// check starts an instance of r, or as many as its initial scale says, to see that
// its code loads. The scaler keeps them for the first calls.
func (n *Node) check(ctx context.Context, r *api.Revision) error {
	spec, err := n.binder.Spec(ctx, r)
	if err != nil {
		return err
	}
	if err := n.engines.Prepare(ctx, spec); err != nil {
		return err
	}
	key, err := printOf(spec)
	if err != nil {
		return err
	}
	if n.verified.fresh(key) {
		return nil
	}
	if err := n.scaler.Start(ctx, r); err != nil {
		return err
	}
	n.verified.add(key)
	return nil
}

// printOf is the same for specs that load the same way, whatever function they
// belong to.
func printOf(s engine.Spec) (string, error) {
	s.Function, s.Revision, s.Metadata, s.Concurrency, s.Timeout = "", "", nil, 0, 0
	data, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// waits says what an instance of a revision waits for that is being started.
func (n *Node) waits(namespace, revision string) string {
	if n.pods == nil {
		return ""
	}
	return n.pods.Waits(namespace, revision)
}

// probe finds the version of a Runtime's interpreter.
func (n *Node) probe(_ context.Context, r *api.Runtime) (string, error) {
	base := r.Spec.Base
	if base == "" {
		if _, ok := runtime.ByName(r.Metadata.Name); ok {
			base = r.Metadata.Name
		}
	}
	switch base {
	case api.RuntimeNode, api.RuntimePython, api.RuntimeGo:
		i := n.find(base)
		if i.Err != nil {
			return "", i.Err
		}
		return i.Version, nil
	}
	return "", nil
}

func (n *Node) tool(ctx context.Context, name string) (build.Tool, error) {
	switch name {
	case api.RuntimeNode, api.RuntimePython, api.RuntimeGo:
		i := n.find(name)
		if i.Err != nil {
			return build.Tool{}, i.Err
		}
		return build.Tool{Path: i.Path, Version: i.Version}, nil
	}
	return build.FindTool(ctx, name)
}

func detect(src fs.FS) (string, string, error) { return runtime.Detect(src) }

// keep tells the scaler which revisions serve, so that their least number of
// instances is held, and the engine which may be called, so that pools are ready.
func (n *Node) keep(ctx context.Context) {
	for ctx.Err() == nil {
		list, err := n.store.List(ctx, store.Query{Resource: api.Revisions})
		if err != nil {
			pause(ctx)
			continue
		}
		for _, r := range list.Records {
			n.keepOne(ctx, r.Value)
		}
		for ev, err := range n.store.Watch(ctx, store.Query{Resource: api.Revisions}, list.Revision) {
			if err != nil {
				break
			}
			if ev.Type == store.EventPut {
				n.keepOne(ctx, ev.Record.Value)
			}
		}
		pause(ctx)
	}
}

func (n *Node) keepOne(ctx context.Context, value []byte) {
	var r api.Revision
	if json.Unmarshal(value, &r) != nil || !r.Status.Conditions.Ready() {
		return
	}
	if r.Metadata.Annotations[api.AnnotationReserve] == "true" {
		n.scaler.Retire(&r)
		return
	}
	spec, err := n.binder.Spec(ctx, &r)
	prepare := func() {
		if err := n.engines.Prepare(ctx, spec); err != nil && ctx.Err() == nil {
			n.cfg.Log.Warn("cannot prepare a revision", "revision", r.Metadata.Name, "err", err)
		}
	}
	switch {
	case err != nil: // a call will say so
	case spec.Pod == nil:
		prepare()
	default: // an image may have to come through the network: nobody else waits for that
		n.running.Go(func() {
			n.fetching <- struct{}{}
			defer func() { <-n.fetching }()
			prepare()
		})
	}
	n.scaler.Keep(&r)
}

func pause(ctx context.Context) {
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (n *Node) functionURL(namespace, name string) string {
	host := name + "." + n.cfg.Domain
	if namespace != api.DefaultNamespace {
		host = name + "." + namespace + "." + n.cfg.Domain
	}
	return n.withHost(host)
}

// withHost is the gateway's address under another host name.
func (n *Node) withHost(host string) string {
	scheme, rest, _ := cutScheme(n.GatewayURL)
	_, port, err := net.SplitHostPort(rest)
	if err != nil {
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// quiet takes the complaints of net/http about single connections (clients that
// hang up, wrong certificates): of interest only when looked for.
func quiet(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }
