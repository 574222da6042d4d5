// Package container is the engine of revisions made of container images: each
// instance is a pod of boxes (package sandbox) with the images' layers as root,
// that share a network, users, volumes and their end. It needs neither Docker nor
// containerd nor runc.
//
//	engine.go    Open, Prepare, Forget, Close
//	fetch.go     the images of a pod, and how far fetching them is
//	start.go     an instance from its images to ready
//	box.go       one container: root, command, environment
//	volume.go    what containers share; fact.go, what is known only now
//	blank.go     boxes that wait for a root, so that a start is a mount and an exec
//	ready.go     startup and readiness; waits.go, what they wait for
//	probe*.go    one question to a container
//	verdict.go   what went wrong, in words
//	instance.go  the life and end of an instance
//	watch.go     what looks after one that runs
//
// Package image, below, keeps the images.
package container

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/sandbox"
)

// Images is where images come from: an *image.Store.
type Images interface {
	Fetch(ctx context.Context, ref string, a image.Auth) (*image.Image, error)
	Forget(ctx context.Context, digest string) error
}

// Options configure Open. State, Host and Images are needed.
type Options struct {
	// State is the folder for copies of images where overlayfs is refused.
	State string
	// Host makes the boxes. It stays the caller's, who closes it after the engine.
	Host *sandbox.Host
	// Images must have been opened with Overlay as Host.Overlay says.
	Images Images
	// Sink takes the lines containers write; nil drops them.
	Sink engine.Sink
	// Log is for the operator; slog.Default() if nil.
	Log *slog.Logger
	// Grace is how long Stop waits between asking and killing where the pod
	// does not say; 30 s if 0.
	Grace time.Duration
	// Blanks is how many boxes are kept ready for the next starts: 2 if 0,
	// none if negative.
	Blanks int
}

// Engine implements engine.Engine for specs with a Pod.
type Engine struct {
	o      Options
	log    *slog.Logger
	host   *sandbox.Host
	copies string // folder of copies
	boot   string // makes instance ids unique over restarts
	serial atomic.Int64
	blanks *blanks
	slots  chan struct{} // bounds what is made at a time

	ctx       context.Context // of starts; ends with Close
	cancel    context.CancelFunc
	starts    sync.WaitGroup
	mu        sync.Mutex
	instances map[*instance]struct{}
	coming    []*instance // that are not up yet, the oldest first
	closed    bool
}

var (
	_ engine.Engine  = (*Engine)(nil)
	_ engine.Waiting = (*Engine)(nil)
)

// Open starts no process yet. The caller closes the engine.
func Open(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Grace == 0 {
		o.Grace = 30 * time.Second
	}
	if o.Blanks == 0 {
		o.Blanks = 2
	}
	copies := filepath.Join(o.State, "copies")
	if err := os.RemoveAll(copies); err != nil { // of a process that was killed
		return nil, api.Errorf(api.CodeDisk, "remove old copies of images: %w", err)
	}
	if err := os.MkdirAll(copies, 0o700); err != nil {
		return nil, api.Errorf(api.CodeDisk, "make the folder for copies of images: %w", err)
	}
	var b [3]byte
	rand.Read(b[:])
	e := &Engine{
		o: o, log: o.Log, host: o.Host, copies: copies, boot: strings.ToLower(base32.StdEncoding.EncodeToString(b[:])[:4]),
		instances: map[*instance]struct{}{}, slots: make(chan struct{}, 2*runtime.NumCPU()),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.blanks = &blanks{engine: e, want: max(o.Blanks, 0)}
	return e, nil
}

func (e *Engine) newID() string { return fmt.Sprintf("pod-%s%d", e.boot, e.serial.Add(1)) }

// Prepare implements engine.Engine: the images are fetched and a box is made
// ready.
func (e *Engine) Prepare(ctx context.Context, s engine.Spec) error {
	if s.Pod == nil {
		return errNoPod(&s)
	}
	if err := e.host.Containers(); err != nil {
		return err
	}
	images, err := e.fetch(ctx, &s)
	if err != nil {
		return err
	}
	for _, i := range images {
		i.Release()
	}
	e.blanks.fill()
	return nil
}

func errNoPod(s *engine.Spec) error {
	return api.Errorf(api.CodeInternal, "revision %s is not made of images", s.Revision)
}

// Forget implements engine.Engine; artifact is a reference with digest, or a
// digest. An image something runs stays.
func (e *Engine) Forget(ctx context.Context, artifact string) error {
	if _, digest, ok := strings.Cut(artifact, "@"); ok {
		artifact = digest
	}
	if artifact == "" {
		return nil
	}
	return e.o.Images.Forget(ctx, artifact)
}

// Findings implements engine.Engine.
func (e *Engine) Findings() []engine.Finding { return e.host.Findings() }

// slot waits for a turn to make something: networks and boxes are work for a
// processor, so more at a time would only make each of them later. The caller
// gives it back with <-e.slots.
func (e *Engine) slot(ctx context.Context) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin says that a Start is under way; its context ends when the engine closes.
func (e *Engine) begin(ctx context.Context) (context.Context, func(), error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, errClosing()
	}
	e.starts.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.ctx, func() { cancel(errClosing()) })
	return ctx, func() { stop(); cancel(nil); e.starts.Done() }, nil
}

func errClosing() error { return api.Errorf(api.CodeStartFailed, "the engine is closing") }

// Close implements engine.Engine.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.cancel()
	var all []*instance
	for i := range e.instances {
		all = append(all, i)
	}
	e.mu.Unlock()
	var wg sync.WaitGroup
	for _, i := range all {
		wg.Go(func() { i.Stop(ctx) })
	}
	wg.Go(e.starts.Wait)
	wg.Go(e.blanks.close)
	wg.Wait()
	if err := os.RemoveAll(e.copies); err != nil && !errors.Is(err, os.ErrNotExist) {
		return api.Errorf(api.CodeDisk, "remove copies of images: %w", err)
	}
	return nil
}
