package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/binding"
	"github.com/hearth-run/hearth/control/build"
	"github.com/hearth-run/hearth/control/reconcile"
	"github.com/hearth-run/hearth/control/registry"
	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/driver/file"
	"github.com/hearth-run/hearth/driver/process"
	"github.com/hearth-run/hearth/driver/sql"
	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/serve/gateway"
	"github.com/hearth-run/hearth/serve/scale"
)

// Node is a running hearth. The exported fields do not change.
type Node struct {
	GatewayURL string // http://localhost:8080
	APIURL     string // https://localhost:4000
	Token      string // of the administrator, for this machine's user
	CA         []byte // certificate authority of the API, PEM
	CAFile     string
	Kubeconfig string // path, mode 0600
	State      string // absolute
	ReadyIn    time.Duration

	cfg      Config
	ballast  []byte // see heap.go
	lock     *lock
	store    *sql.Store
	records  *sql.Records
	blobs    *file.Blobs
	engine   *process.Engine
	engines  engines      // engine, and that of container images
	pods     *counted     // the latter; nil: there is none
	images   *image.Store // nil where pods is
	scaler   *scale.Scaler
	gateway  *gateway.Gateway
	binder   *binding.Binder
	builder  *build.Builder
	loops    *reconcile.Reconciler
	foreign  *reconcile.Foreign
	registry *registry.Registry // of images
	api      *server.Server
	apiHTTP  *http.Server
	find     func(string) runtime.Interpreter
	verified verified
	fetching chan struct{} // bounds the images fetched in advance
	started  time.Time

	drain   context.CancelFunc // the gateway takes no new connections
	halt    context.CancelFunc // everything else ends
	secure  net.Listener       // the gateway's second one, for TLS; nil: there is none
	front   sync.WaitGroup     // the gateway's listeners
	running sync.WaitGroup
	failed  chan error
	once    sync.Once
	closed  error
}

// Up starts a node and returns when it is ready to serve; ports and the state
// folder are checked before anything starts, and whatever was started is ended
// again when something fails. The caller closes the node. ctx bounds the start
// only.
func Up(ctx context.Context, cfg Config) (_ *Node, err error) {
	begin := time.Now()
	cfg = cfg.withDefaults()
	state, err := filepath.Abs(cfg.State)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%s is no folder name", cfg.State)
	}
	n := &Node{cfg: cfg, ballast: ballast(), State: state, find: runtime.Once(runtime.Find), started: begin, failed: make(chan error, 4), fetching: make(chan struct{}, 4)}
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	if n.lock, err = acquire(state); err != nil {
		return nil, err
	}
	undo = append(undo, n.lock.release)
	front, err := listen("gateway", "--gateway-port", cfg.GatewayAddr)
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { front.Close() })
	back, err := listen("API", "--api-port", cfg.APIAddr)
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { back.Close() })
	if n.secure, err = n.listenSecure(); err != nil {
		return nil, err
	}
	if n.secure != nil {
		undo = append(undo, func() { n.secure.Close() })
	}

	opened, err := n.open(ctx, back)
	undo = append(undo, opened...)
	if err != nil {
		return nil, err
	}
	authority, err := server.OpenAuthority(filepath.Join(state, "ca"), hosts(cfg.APIAddr)...)
	if err != nil {
		return nil, err
	}
	if err := n.assemble(); err != nil {
		return nil, err
	}
	if err := n.credentials(ctx, authority, front, back); err != nil {
		return nil, err
	}
	if err := n.run(ctx, authority, front, back); err != nil {
		return nil, err
	}
	n.ReadyIn = time.Since(begin)
	return n, nil
}

// open opens the drivers; it returns what closes those that were opened.
func (n *Node) open(ctx context.Context, back net.Listener) (undo []func(), err error) {
	log, at := n.cfg.Log, func(name string) string { return filepath.Join(n.State, name) }
	seal, err := sql.KeyFile(at("secrets.key"))
	if err != nil {
		return undo, err
	}
	if n.store, err = sql.Open(ctx, at("hearth.db"), sql.Options{Log: log, Seal: seal}); err != nil {
		return undo, err
	}
	undo = append(undo, func() { n.store.Close() })
	if n.records, err = sql.OpenRecords(ctx, at("records.db"), sql.Options{Log: log}); err != nil {
		return undo, err
	}
	undo = append(undo, func() { n.records.Close() })
	if n.blobs, err = file.Open(at("blobs")); err != nil {
		return undo, err
	}
	if err := n.openRegistry(); err != nil {
		return undo, err
	}
	n.engine, err = process.Open(ctx, process.Options{
		State: at("engine"), Blobs: n.blobs, Sink: n.records.AddLine, Log: log, Find: n.find,
		PoolMemory: n.cfg.PoolMemory, Self: n.cfg.Self, Without: n.cfg.Without,
	})
	if err != nil {
		return undo, err
	}
	n.engine.Host().SetLobby(n.lobby())
	n.engines = engines{processes: n.engine}
	undo = append(undo, func() { n.engines.Close(context.WithoutCancel(ctx)) })
	return undo, n.openContainers(n.engine.Host(), back)
}

// credentials writes what this machine's user needs to talk to the API.
func (n *Node) credentials(ctx context.Context, a *server.Authority, front, back net.Listener) error {
	scheme := "http"
	if n.cfg.Certificate != nil {
		scheme = "https"
	}
	n.GatewayURL = scheme + "://" + local(front)
	n.APIURL = "https://" + local(back)
	tokens, err := n.tokens()
	if err != nil {
		return err
	}
	n.Token, err = tokens.Issue(ctx, identity.Caller{Name: "local", Roles: []string{identity.RoleAdmin}}, 0)
	if err != nil {
		return err
	}
	n.CA = a.CA()
	n.CAFile = filepath.Join(n.State, "ca.crt")
	n.Kubeconfig = filepath.Join(n.State, "kubeconfig")
	if err := writePrivate(n.CAFile, n.CA); err != nil {
		return err
	}
	if err := writePrivate(n.Kubeconfig, server.Kubeconfig(n.APIURL, n.CA, n.Token, api.DefaultNamespace)); err != nil {
		return err
	}
	n.api, err = server.New(server.Config{
		Store: told{n.store, n.foreign.Saw}, Identity: accounts{tokens, n.store}, Kinds: kinds(n.knativeSettings), Blobs: n.blobs, Records: n.records, Invoke: n.gateway, Metrics: n.metrics(),
		Log: n.cfg.Log, Version: n.cfg.Version, Status: n.status, Doctor: n.doctor, Shown: n.gateway.Shown,
	})
	return err
}

// run starts the loops and servers and waits until the gateway knows its routes.
func (n *Node) run(ctx context.Context, a *server.Authority, front, back net.Listener) error {
	loops, halt := context.WithCancel(context.WithoutCancel(ctx))
	serving, drain := context.WithCancel(loops)
	n.halt, n.drain = halt, drain
	n.apiHTTP = &http.Server{
		Handler: n.handler(), TLSConfig: a.TLS(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: quiet(n.cfg.Log),
	}
	for _, f := range []func(context.Context) error{
		n.scaler.Run, n.api.Run, n.registry.Run, n.tidyImages,
		func(ctx context.Context) error { n.gateway.Follow(ctx); return nil },
		func(ctx context.Context) error { n.binder.Run(ctx); return nil },
		func(ctx context.Context) error { n.loops.Run(ctx); return nil },
		func(ctx context.Context) error { n.foreign.Run(ctx); return nil },
		func(ctx context.Context) error { n.keep(ctx); return nil },
		func(ctx context.Context) error { tidy(ctx); return nil },
	} {
		n.running.Go(func() { n.end(f(loops)) })
	}
	n.running.Go(func() { n.end(n.apiHTTP.ServeTLS(back, "", "")) })
	n.front.Go(func() { n.end(n.gateway.Serve(serving, front, n.frontTLS())) })
	if n.secure != nil {
		n.front.Go(func() { n.end(n.gateway.Serve(serving, n.secure, n.gateway.TLS(n.tls()))) })
	}
	select {
	case <-n.gateway.Ready():
		return nil
	case err := <-n.failed:
		halt()
		n.apiHTTP.Close()
		n.running.Wait()
		return err
	case <-ctx.Done():
		halt()
		n.apiHTTP.Close()
		n.running.Wait()
		return ctx.Err()
	}
}

func (n *Node) end(err error) {
	if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled) {
		return
	}
	n.cfg.Log.Error("a part of hearth ended", "err", err)
	select {
	case n.failed <- err:
	default:
	}
}

// Failed gets the error of a part that ended by itself.
func (n *Node) Failed() <-chan error { return n.failed }

// Close ends the node: the gateway takes no more connections and finishes the
// calls in progress for at most Config.Drain or until ctx ends, then every
// instance and every loop ends, then the drivers. Everything acknowledged is on
// disk before. Closing twice is no error.
func (n *Node) Close(ctx context.Context) error {
	n.once.Do(func() {
		drained, cancel := context.WithTimeout(ctx, n.cfg.Drain)
		defer cancel()
		n.drain()
		wait(drained, &n.front)
		scaled := n.scaler.Close(drained)
		n.api.Close()
		// Requests to the API are short; idle HTTP/2 connections would hold
		// Shutdown for a second after its last frame.
		brief, cancelBrief := context.WithTimeout(drained, 300*time.Millisecond)
		n.apiHTTP.Shutdown(brief)
		cancelBrief()
		n.apiHTTP.Close()
		n.halt()
		n.running.Wait()
		n.front.Wait()
		hard, cancel2 := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel2()
		if errors.Is(scaled, context.DeadlineExceeded) {
			scaled = nil // calls were cut off after the time to drain, as documented
		}
		n.closed = errors.Join(scaled, n.gateway.Close(), n.engines.Close(hard), n.records.Close(), n.store.Close())
		if n.images != nil {
			n.images.Close()
		}
		n.lock.release()
	})
	return n.closed
}

func wait(ctx context.Context, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Findings says what the host allows.
func (n *Node) Findings() []engine.Finding { return n.engines.Findings() }

func writePrivate(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return api.Errorf(api.CodeDisk, "write %s: %v", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return api.Errorf(api.CodeDisk, "write %s: %v", path, err)
	}
	return nil
}
