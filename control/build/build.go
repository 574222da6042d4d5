// Package build turns a function's source into an artifact: a tar with a fixed
// order, fixed times, owners and modes, kept in the blob store under its digest.
//
// It fetches and unpacks sources, refuses hostile archives, checks syntax,
// transpiles TypeScript, installs dependencies and compiles programs. What comes
// from a tenant and must run (npm, pip, go, a build command) runs through a
// Runner, which node makes a sandbox. Who decides that something is built, and
// what becomes of the artifact, is package reconcile's business.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
)

// rules counts changes of what a build makes out of the same source; raising it
// forgets every cached artifact.
const rules = 1

// Config is what a Builder needs. Blobs and Cache are required.
type Config struct {
	Blobs  blob.Store
	Runner Runner // nil: Direct
	// Folders allows spec.source.folder: anyone who may write functions can
	// then read every folder this process can.
	Folders bool
	// Cache is a folder of this builder's own: work in progress, the index of
	// artifacts, package caches by tenant. It can be deleted at any time while
	// no builder uses it.
	Cache string
	// Fetch downloads archives; nil: a client of its own. Redirects are
	// bounded by the builder.
	Fetch  *http.Client
	Limits Limits
	// Parallel bounds tools (npm, pip, go, build commands) that run at once; 0: half the processors, at
	// least one.
	Parallel int
	// Find locates a tool: node, npm, python, go. nil looks in PATH. Its error
	// should be api.CodeNoRuntime with the command that installs the tool.
	Find func(ctx context.Context, tool string) (Tool, error)
	// Detect finds the runtime, and the handler where the files tell, of a
	// source whose function names no runtime; nil goes by the files' endings.
	Detect func(src fs.FS) (runtime, handler string, err error)
	// WrapGo adds the files that make a program out of a Go function. nil
	// builds the source as it is.
	WrapGo func(src fs.FS, handler string) (files map[string][]byte, err error)
	// Resolve gives the values of a build's env; nil allows plain values only.
	Resolve func(ctx context.Context, namespace string, env []api.EnvVar) (map[string]string, error)
	// Progress gets each line a build prints, as it is printed; may be nil.
	Progress func(namespace, function, line string)
	Log      *slog.Logger
}

// Limits bound what a source may cost. Zero values mean the defaults.
type Limits struct {
	Archive  int64         // bytes of a packed archive; 256 MiB
	Unpacked int64         // bytes of a source or artifact tree; 512 MiB
	Files    int           // entries of a tree; 100 000
	Log      int           // bytes kept of a build log; 1 MiB
	Timeout  time.Duration // of each tool and download, where a build names none; 10 minutes
}

// Builder builds. It is safe for concurrent use.
type Builder struct {
	cfg   Config
	slots chan struct{}
	deps  *keyed
}

// Request says what to build.
type Request struct {
	Namespace string
	Function  api.Function
	// Runtime is the function's runtime; empty: found from the source.
	Runtime string
	// Spec is the Runtime object of that name; nil for a built-in without one.
	Spec *api.RuntimeSpec
}

// Result is what came of a build. After an error only LogDigest, SourceDigest
// and Duration may be set.
type Result struct {
	Artifact     string // digest of the built tree
	SourceDigest string
	Handler      string
	LogDigest    string // digest of the build log; empty when nothing was printed
	Runtime      string // the request's, or the one found
	Duration     time.Duration
	Cached       bool // nothing was built: the artifact was there
}

// New returns a Builder. It removes what an interrupted build left in Cache.
func New(cfg Config) (*Builder, error) {
	if cfg.Runner == nil {
		cfg.Runner = Direct{}
	}
	if cfg.Find == nil {
		cfg.Find = FindTool
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Fetch == nil {
		cfg.Fetch = &http.Client{Timeout: 5 * time.Minute}
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = max(1, runtime.NumCPU()/2)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	abs, err := filepath.Abs(cfg.Cache)
	if err != nil || cfg.Cache == "" {
		return nil, api.Errorf(api.CodeInternal, "the builder needs a cache folder")
	}
	cfg.Cache = abs
	if err := os.RemoveAll(filepath.Join(abs, "work")); err != nil {
		return nil, api.Errorf(api.CodeDisk, "clean the build folder: %w", err)
	}
	for _, d := range []string{"work", "index", "tenant"} {
		// Others' sources are in there: a sandbox shows a build its own only.
		if err := os.MkdirAll(filepath.Join(abs, d), 0o700); err != nil {
			return nil, api.Errorf(api.CodeDisk, "make the build folder: %w", err)
		}
	}
	return &Builder{cfg: cfg, slots: make(chan struct{}, cfg.Parallel), deps: newKeyed()}, nil
}

func (l Limits) withDefaults() Limits {
	if l.Archive <= 0 {
		l.Archive = 256 << 20
	}
	if l.Unpacked <= 0 {
		l.Unpacked = 512 << 20
	}
	if l.Files <= 0 {
		l.Files = 100_000
	}
	if l.Log <= 0 {
		l.Log = 1 << 20
	}
	if l.Timeout <= 0 {
		l.Timeout = 10 * time.Minute
	}
	return l
}

// Build makes the artifact of r's source, or finds the one made before from the
// same source, runtime and settings. Errors are *api.Error: CodeBuildFailed
// with the tool's own words in Detail, CodeChecksum, CodeUnsafeArchive,
// CodeTooLarge, CodeUnreachable, CodeNoRuntime, CodeNotFound, CodeForbidden;
// ctx.Err() when ctx ends.
func (b *Builder) Build(ctx context.Context, r Request) (res Result, err error) {
	start := time.Now()
	defer func() { res.Duration = time.Since(start) }()
	j, err := b.newJob(r)
	if err != nil {
		return res, err
	}
	defer j.close()
	res, err = j.run(ctx)
	log, logErr := j.log.keep(ctx, b.cfg.Blobs)
	if !res.Cached {
		res.LogDigest = log
	}
	switch {
	case ctx.Err() != nil:
		return res, ctx.Err()
	case err != nil:
		return res, asBuildError(err)
	case logErr != nil:
		return res, logErr
	}
	if !res.Cached {
		b.remember(j.key, entry{Artifact: res.Artifact, Handler: res.Handler, Runtime: res.Runtime, Log: res.LogDigest})
	}
	return res, nil
}

func (b *Builder) timeout(r Request) time.Duration {
	t := b.cfg.Limits.Timeout
	if r.Spec != nil && r.Spec.Build != nil {
		t = r.Spec.Build.Timeout.Or(t)
	}
	if s := r.Function.Spec.Build; s != nil {
		t = s.Timeout.Or(t)
	}
	return t
}

// asBuildError keeps *api.Error and says of any other error that the host failed.
func asBuildError(err error) error {
	var e *api.Error
	if errors.As(err, &e) {
		return err
	}
	return api.Errorf(api.CodeInternal, "the build could not run").WithCause(err)
}

// job is one build in its own folder: src is the source tree, out the place for
// a builder's own result, home an empty home folder.
type job struct {
	b    *Builder
	r    Request
	dir  string
	log  *buildLog
	key  string
	spec api.BuildSpec // merged: the function's over the runtime's

	handler string // of the result; a builder may change it
}

func (b *Builder) newJob(r Request) (*job, error) {
	dir, err := os.MkdirTemp(filepath.Join(b.cfg.Cache, "work"), "build-")
	if err != nil {
		return nil, api.Errorf(api.CodeDisk, "make a build folder: %w", err)
	}
	j := &job{b: b, r: r, dir: dir}
	for _, d := range []string{"src", "home"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			j.close()
			return nil, api.Errorf(api.CodeDisk, "make a build folder: %w", err)
		}
	}
	// Tools that look for a package.json upwards end here, and do not find that
	// of the folder in which hearth happens to keep its state.
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte("{}"), 0o644); err != nil {
		j.close()
		return nil, api.Errorf(api.CodeDisk, "make a build folder: %w", err)
	}
	var line func(string)
	if b.cfg.Progress != nil {
		line = func(s string) { b.cfg.Progress(r.Namespace, r.Function.Metadata.Name, s) }
	}
	j.log = newBuildLog(b.cfg.Limits.Log, line)
	j.spec, j.handler = mergeBuild(r), r.Function.Spec.Handler
	return j, nil
}

func (j *job) close()      { removeAll(j.dir) }
func (j *job) src() string { return filepath.Join(j.dir, "src") }

// mergeBuild lays the function's build settings over its runtime's.
func mergeBuild(r Request) api.BuildSpec {
	var s api.BuildSpec
	if r.Spec != nil && r.Spec.Build != nil {
		s = *r.Spec.Build
	}
	f := r.Function.Spec.Build
	if f == nil {
		return s
	}
	if len(f.Command) > 0 {
		s.Command = f.Command
	}
	if f.Timeout != nil {
		s.Timeout = f.Timeout
	}
	// Later ones win where a name is given twice.
	s.Env = append(append([]api.EnvVar(nil), s.Env...), f.Env...)
	return s
}

func (j *job) run(ctx context.Context) (Result, error) {
	digest, err := j.sourceDigest(ctx)
	if err != nil {
		return Result{}, err
	}
	res := Result{SourceDigest: digest, Runtime: j.r.Runtime, Handler: j.r.Function.Spec.Handler}
	if j.key, err = j.cacheKey(ctx, digest); err != nil {
		return res, err
	}
	if e, ok := j.b.recall(ctx, j.key); ok {
		res.Artifact, res.Handler, res.Runtime, res.LogDigest, res.Cached = e.Artifact, e.Handler, e.Runtime, e.Log, true
		return res, nil
	}
	if err := j.unfold(ctx); err != nil {
		return res, err
	}
	tree := j.src()
	if len(j.spec.Command) > 0 {
		if tree, err = j.makeByCommand(ctx); err != nil {
			return res, err
		}
	}
	if res.Runtime == "" {
		name, handler, err := j.detect(tree)
		if err != nil {
			return res, err
		}
		if res.Runtime = name; j.handler == "" {
			j.handler = handler
		}
	}
	if len(j.spec.Command) == 0 {
		if tree, err = j.make(ctx, res.Runtime); err != nil {
			return res, err
		}
	}
	res.Handler = j.handler
	res.Artifact, err = j.keep(ctx, tree)
	return res, err
}

// make runs the runtime's own way from source to artifact and returns the
// artifact's folder.
func (j *job) make(ctx context.Context, name string) (string, error) {
	switch j.base(name) {
	case api.RuntimeNode:
		return j.src(), j.makeNode(ctx)
	case api.RuntimePython:
		return j.src(), j.makePython(ctx)
	case api.RuntimeGo:
		return j.makeGo(ctx)
	case api.RuntimeCommand:
		return j.src(), j.makeProgram(ctx)
	default:
		return j.src(), nil // static, and runtimes that load what they get
	}
}

// base is the built-in whose way of building is used; empty: none.
func (j *job) base(name string) string {
	if j.r.Spec != nil && (j.r.Spec.Base != "" || len(j.r.Spec.Command) > 0) {
		return j.r.Spec.Base
	}
	return name
}

// keep packs tree into the blob store.
func (j *job) keep(ctx context.Context, tree string) (string, error) {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(pack(ctx, tree, pw, j.b.cfg.Limits)) }()
	info, err := j.b.cfg.Blobs.Put(ctx, pr)
	pr.CloseWithError(io.ErrClosedPipe) // ends pack when Put gave up early
	if err != nil {
		return "", err
	}
	return string(info.Digest), nil
}

// cacheKey is a digest of everything that decides what the artifact is.
func (j *job) cacheKey(ctx context.Context, source string) (string, error) {
	version := ""
	if tool := map[string]string{api.RuntimeNode: "node", api.RuntimePython: "python", api.RuntimeGo: "go"}[j.base(j.r.Runtime)]; tool != "" {
		// A missing tool is no error yet: plain code may need none to build.
		if t, err := j.b.cfg.Find(ctx, tool); err == nil {
			version = t.Version
		}
	}
	f := j.r.Function
	return digestOf(rules, source, j.r.Runtime, j.base(j.r.Runtime), version, runtime.GOOS+"/"+runtime.GOARCH, f.Spec.Handler, f.Spec.Command,
		j.spec.Command, j.spec.Env, f.Metadata.Annotations[api.AnnotationRebuild])
}

func digestOf(parts ...any) (string, error) {
	b, err := json.Marshal(parts)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
