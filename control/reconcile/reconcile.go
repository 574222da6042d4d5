// Package reconcile makes what is wanted real: functions become artifacts and
// revisions, routes get a verdict, runtimes a version. There is one loop per
// noun, fed by one watch of the store; all it knows can be read again from there.
//
// It does not build, start or serve anything itself: node plugs these in. It
// never stands in the way of traffic: until a new revision has proven that it
// loads, the last good one stays the one that serves.
//
// Objects of other APIs have one loop for all, Foreign, which knows none of
// them: a Dialect says, as a pure function of what is in the store, which native
// objects and which status each of them comes to.
//
// # Conditions of a function
//
//   - Ready: can it be called now? True as long as any revision serves. Its
//     observedGeneration is the generation that serves, so that kubectl wait
//     --for=condition=Ready waits for the newest spec and not for an older one.
//   - Updated: is it the newest spec that serves? Unknown while that is being
//     found out, False with the reason when it cannot.
//   - Built: did the newest source become an artifact?
//   - Isolated: False when the host lacks a mechanism of the sandbox.
//   - RolledOut, with spec.rollout: does the newest revision get all of its
//     share? Unknown while it gets more and more, False when it was rolled back.
//   - TrafficAssigned, with spec.traffic: are the revisions it names there?
package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/store"
)

// Config is what a Reconciler needs. Store and Build are required; every other
// function may be nil, and then counts as saying yes.
type Config struct {
	Store store.Store
	// Build makes an artifact. It returns what it knows also with an error.
	Build func(ctx context.Context, r BuildRequest) (Built, error)
	// References says whether everything a function refers to is there.
	References func(ctx context.Context, f *api.Function) error
	// Check starts one instance of a revision to see whether its code loads.
	Check func(ctx context.Context, r *api.Revision) error
	// Waits says, while Check runs, what the instance that starts waits for;
	// empty where that is not known.
	Waits func(namespace, revision string) string
	// Probe finds the version of a Runtime's interpreter.
	Probe func(ctx context.Context, r *api.Runtime) (version string, err error)
	// URL is where the gateway answers for a function; RouteURL for a route.
	URL      func(namespace, name string) string
	RouteURL func(r *api.Route) string
	// Observe tells how the calls of a revision went that is one of several in
	// its function's traffic, as far as is known; for rollouts.
	Observe func(namespace, revision string) record.Summary
	// Retire is told of each revision that is removed, and of one whose start is
	// given up because a newer spec is there; that one may be started again.
	Retire func(r *api.Revision)
	// Findings says what the host's sandbox lacks.
	Findings func() []engine.Finding

	// Blobs is swept of what no object names; nil: nothing is swept. Kept
	// yields digests to keep besides, Forget is told of each one removed.
	Blobs  blob.Store
	Kept   func(ctx context.Context) ([]string, error)
	Forget func(ctx context.Context, digest string) error
	// Grace is how long a blob must have been unused; 1 hour when 0.
	Grace time.Duration
	// Sweep is the time between two sweeps; 10 minutes when 0.
	Sweep time.Duration

	Workers int // functions worked on at a time; 16 when 0
	Log     *slog.Logger
}

// BuildRequest says what to build.
type BuildRequest struct {
	Namespace string
	Function  api.Function
	Runtime   string           // empty: to be found from the source
	Spec      *api.RuntimeSpec // the Runtime object of that name, if there is one
}

// Built is what came of a build.
type Built struct {
	Artifact string
	Source   string
	Handler  string
	Log      string
	Runtime  string
	Image    string // reference with digest, of a function whose source is an image
	Duration time.Duration
}

// Reconciler runs the loops.
type Reconciler struct {
	cfg    Config
	log    *slog.Logger
	index  *index
	events *Recorder

	functions *queue[store.Key]
	repairs   *queue[store.Key] // functions, beside what functions is busy with
	traffic   *queue[store.Key] // functions with traffic of their own
	routes    *queue[store.Key]
	runtimes  *queue[store.Key]
	work      *workings
	rollouts  *rollouts
	swept     map[blob.Digest]time.Time // unused since; of the sweep alone
}

// New returns a Reconciler. Run starts it.
func New(cfg Config) *Reconciler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 16
	}
	if cfg.Grace <= 0 {
		cfg.Grace = time.Hour
	}
	if cfg.Sweep <= 0 {
		cfg.Sweep = 10 * time.Minute
	}
	return &Reconciler{
		cfg: cfg, log: cfg.Log, index: newIndex(), events: NewRecorder(cfg.Store, "hearth"),
		functions: newQueue[store.Key](), repairs: newQueue[store.Key](), traffic: newQueue[store.Key](), routes: newQueue[store.Key](), runtimes: newQueue[store.Key](),
		work: newWorkings(), rollouts: newRollouts(cfg.Observe), swept: map[blob.Digest]time.Time{},
	}
}

// Events is the recorder of this reconciler, for others that have something to
// say about an object.
func (r *Reconciler) Events() *Recorder { return r.events }

// Run works until ctx ends and returns when every loop has stopped. It can run
// once.
func (r *Reconciler) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { r.watch(ctx) })
	loops.Go(func() { r.functions.run(ctx, r.cfg.Workers, r.function, r.failed) })
	loops.Go(func() { r.repairs.run(ctx, 1, r.repairOne, r.failed) })
	loops.Go(func() { r.traffic.run(ctx, 2, r.spread, r.failed) })
	loops.Go(func() { r.routes.run(ctx, 2, r.route, r.failed) })
	loops.Go(func() { r.runtimes.run(ctx, 2, r.runtime, r.failed) })
	loops.Go(func() { r.sweepLoop(ctx) })
	loops.Wait()
}

// failed hears of errors that are the host's, not an object's; the queue tries
// again.
func (r *Reconciler) failed(k store.Key, err error) {
	r.log.Warn("reconcile", "object", k.String(), "error", err, "cause", causeOf(err))
}

func causeOf(err error) error {
	if e := api.AsError(err); e != nil {
		return e.Cause
	}
	return nil
}
