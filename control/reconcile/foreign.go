package reconcile

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/rollout"
	"github.com/hearth-run/hearth/core/store"
)

// Dialect translates a foreign API into Hearth's nouns and back. All of it is
// pure: what a method returns depends on its arguments alone.
type Dialect interface {
	// Kinds are the resources whose objects are stepped; Reads are those a Step
	// looks at besides.
	Kinds() []string
	Reads() []string
	// Needs are the objects the Step of r looks at by name, whether they are
	// there or not: when one of them changes, r is stepped.
	Needs(r store.Record) []store.Key
	// Touches are the objects to be stepped when r came, changed or went.
	Touches(r store.Record) []store.Key
	// Seeds are objects to be made where the first of them is not there, as in a
	// fresh cluster.
	Seeds() []store.Record
	// Global reports whether k holds settings that concern every object.
	Global(k store.Key) bool
	// Step says what ought to be, seen from the object at k, which is there.
	Step(v View, k store.Key, now time.Time) Outcome
}

// View is what a Step sees: the newest objects known.
type View interface {
	Get(k store.Key) (store.Record, bool)
	// Owned are the objects whose controller has the uid, in order of their keys.
	Owned(uid string) []store.Record
	// Needing are the objects with k among their Needs, in order of their keys.
	Needing(k store.Key) []store.Record
	// Images are the references with digests that stand for the images of the
	// Outcome.Resolve with that uid, or why there are none; false: not known yet.
	Images(uid string) (byReference map[string]string, err error, known bool)
	// Seen is how the calls of the native revision a rollout leads to went since
	// its present step began; k has that rollout, among others that part tells
	// apart. nil forgets it.
	Seen(k store.Key, part string, r *api.RolloutStatus) rollout.Seen
	// Replicas is how many instances of a native revision are ready, and how
	// many are wanted.
	Replicas(namespace, revision string) (ready, wanted int)
}

// Outcome is what a Step wants.
type Outcome struct {
	// Put are objects to be written: new ones where Revision is 0, else in the
	// place of the record with that revision. UID, creation and generation are
	// filled in; what stays equal is not written.
	Put []store.Record
	// Delete are records to be removed if they still have that revision.
	Delete []store.Record
	Events []api.Event // about whom, type, reason and message
	// Resolve is a revision whose images want digests; its uid is what
	// View.Images is asked for.
	Resolve *api.Revision
	Within  time.Duration // how long a registry is waited for; 0: as long as it takes
	// Again is when to step once more though nothing changed; 0: never.
	Again time.Duration
}

// ForeignConfig is what a Foreign needs. Store and Dialect are required.
type ForeignConfig struct {
	Store   store.Store
	Dialect Dialect
	// Resolve finds the digests of a revision's images: a reference with digest
	// by reference. No registry is waited for longer than within, where that is
	// not 0. nil: references stay as they are.
	Resolve func(ctx context.Context, r *api.Revision, within time.Duration) (map[string]string, error)
	// Check starts one instance of a native revision; nil says yes.
	Check func(ctx context.Context, r *api.Revision) error
	// Waits says, while Check runs, what the instance that starts waits for;
	// empty where that is not known. nil: it never is.
	Waits func(namespace, revision string) string
	// Replicas counts the instances of a native revision; nil: none.
	Replicas func(namespace, revision string) (ready, wanted int)
	// Observe tells how the calls of a native revision went that is one of several
	// a route leads to, as far as is known; nil: nothing is.
	Observe func(namespace, revision string) record.Summary
	// Retire is told of each native revision that went.
	Retire func(r *api.Revision)

	Workers int // objects stepped at a time; 8 when 0
	Log     *slog.Logger
}

// Foreign keeps what a dialect's objects stand for equal to them: it steps each
// object when something it depends on changed, brings what the dialect wants
// into the store, and checks the native revisions that come of it. All it knows
// can be read again from the store.
type Foreign struct {
	cfg    ForeignConfig
	log    *slog.Logger
	events *Recorder
	mirror *mirror
	kinds  map[string]bool

	steps  *queue[store.Key]
	images *queue[store.Key] // foreign objects whose images want digests
	checks *queue[store.Key] // native revisions
	soft   *soft
	listed atomic.Bool
}

// NewForeign returns a Foreign. Run starts it.
func NewForeign(cfg ForeignConfig) *Foreign {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 8
	}
	f := &Foreign{
		cfg: cfg, log: cfg.Log, events: NewRecorder(cfg.Store, "hearth"), mirror: newMirror(cfg), kinds: map[string]bool{},
		steps: newQueue[store.Key](), images: newQueue[store.Key](), checks: newQueue[store.Key](),
		soft: newSoft(),
	}
	for _, k := range cfg.Dialect.Kinds() {
		f.kinds[k] = true
	}
	return f
}

// Run works until ctx ends and returns when every loop has stopped. It can run
// once.
func (f *Foreign) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { f.watch(ctx) })
	loops.Go(func() { f.seed(ctx) })
	loops.Go(func() { f.steps.run(ctx, f.cfg.Workers, f.step, f.failed) })
	loops.Go(func() { f.images.run(ctx, 4, f.resolve, f.failed) })
	loops.Go(func() { f.checks.run(ctx, 16, f.check, f.failed) })
	loops.Wait()
}

// seed makes the dialect's first objects, unless they were made before. What fails
// is tried again with the next start.
func (f *Foreign) seed(ctx context.Context) {
	for i, r := range f.cfg.Dialect.Seeds() {
		_, err := f.cfg.Store.Get(ctx, r.Key)
		if i == 0 && err == nil {
			return
		}
		if api.IsCode(err, api.CodeNotFound) {
			err = f.write(ctx, r)
		}
		if err != nil && !api.IsCode(err, api.CodeExists) {
			if ctx.Err() == nil {
				f.failed(r.Key, err)
			}
			return
		}
	}
}

// serviceAccounts are the core group's; they name Secrets for registries.
const serviceAccounts = "serviceaccounts"

// scaledWait collects changes of the number of instances: each is a write.
const scaledWait = time.Second

// Scaled says that the number of a native revision's instances changed.
func (f *Foreign) Scaled(namespace, revision string) {
	r, ok := f.mirror.Get(revisionKey(namespace, revision))
	if !ok {
		return
	}
	for _, k := range f.cfg.Dialect.Touches(r) {
		if f.kinds[k.Resource] {
			f.steps.addAfter(k, scaledWait)
		}
	}
}

func (f *Foreign) failed(k store.Key, err error) {
	f.log.Warn("reconcile", "object", k.String(), "error", err, "cause", causeOf(err))
}

// Get returns the newest record known at k; false: there is none, or, as long as
// Listed is false, it may not be known yet.
func (f *Foreign) Get(k store.Key) (store.Record, bool) { return f.mirror.Get(k) }

// Listed reports whether all that was in the store at the start is known.
func (f *Foreign) Listed() bool { return f.listed.Load() }

// Saw takes in a change that was just written, which its watch would bring a
// moment later.
func (f *Foreign) Saw(t store.EventType, r store.Record) { f.see(t, r) }

// watch feeds the loops until ctx ends, as Reconciler.watch does.
func (f *Foreign) watch(ctx context.Context) {
	for wait := time.Duration(0); ctx.Err() == nil; wait = min(wait*2+50*time.Millisecond, 5*time.Second) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		at, err := f.list(ctx)
		if err != nil {
			if ctx.Err() == nil {
				f.log.Warn("list for reconcile", "error", err)
			}
			continue
		}
		for e, err := range f.cfg.Store.Watch(ctx, store.Query{}, at) {
			if err != nil {
				if !api.IsCode(err, api.CodeGone) {
					f.log.Warn("watch for reconcile", "error", err)
				}
				break
			}
			wait = 0
			f.see(e.Type, e.Record)
		}
	}
}

func (f *Foreign) list(ctx context.Context) (int64, error) {
	at := int64(-1)
	listed := map[store.Key]bool{}
	var all []store.Record
	for _, resource := range f.mirror.resources {
		l, err := f.cfg.Store.List(ctx, store.Query{Resource: resource})
		if err != nil {
			return 0, err
		}
		if at < 0 {
			at = l.Revision // the first is the oldest: the rest comes twice, which is harmless
		}
		all = append(all, l.Records...)
	}
	for _, r := range all {
		listed[r.Key] = true
		f.mirror.put(r) // all of it before the first step
	}
	for _, r := range f.mirror.unlisted(listed) {
		f.see(store.EventDelete, r)
	}
	f.listed.Store(true)
	for _, r := range all {
		f.enqueue(r)
	}
	return at, nil
}

// see takes a change in and asks for what follows from it.
func (f *Foreign) see(t store.EventType, r store.Record) {
	if t == store.EventPut && (r.Key.Resource == api.Secrets || r.Key.Resource == api.ConfigMaps || r.Key.Resource == serviceAccounts) {
		for _, k := range f.soft.retry(r.Key.Namespace) { // it may be what they miss
			f.checks.add(k)
			f.images.add(k)
		}
	}
	if t == store.EventMark || !f.mirror.holds(r.Key.Resource) {
		return
	}
	if t == store.EventDelete {
		if f.mirror.drop(r.Key, r.Revision) {
			f.gone(r)
			f.enqueue(r)
		}
		return
	}
	old, was, news := f.mirror.put(r)
	if !news {
		return
	}
	if was {
		f.enqueue(old) // what it no longer leads to
		if reserved := []byte(api.AnnotationReserve); bytes.Contains(old.Value, reserved) && !bytes.Contains(r.Value, reserved) {
			f.soft.wake(r.Key) // it is wanted now
		}
	}
	f.enqueue(r)
}

// enqueue asks for everything to be looked at that r has to do with.
func (f *Foreign) enqueue(r store.Record) {
	if f.kinds[r.Key.Resource] {
		f.steps.add(r.Key)
	}
	if r.Key.Resource == api.Revisions {
		f.checks.add(r.Key)
	}
	for _, k := range f.cfg.Dialect.Touches(r) {
		if f.kinds[k.Resource] {
			f.steps.add(k)
		}
	}
	for _, o := range f.mirror.Needing(r.Key) {
		f.steps.add(o.Key)
	}
	if f.cfg.Dialect.Global(r.Key) {
		for _, k := range f.mirror.keys() {
			if f.kinds[k.Resource] {
				f.steps.add(k)
			}
		}
	}
}

// gone forgets what was remembered of an object.
func (f *Foreign) gone(r store.Record) {
	f.soft.forget(r.Key)
	f.mirror.forgetImages(uidOf(r.Value))
	f.mirror.rollouts.forget(r.Key)
	if r.Key.Resource != api.Revisions || f.cfg.Retire == nil {
		return
	}
	if rev := nativeRevision(r); rev != nil && rev.Spec.Owner != "" {
		f.cfg.Retire(rev)
	}
}

// step is the loop of foreign objects.
func (f *Foreign) step(ctx context.Context, k store.Key) (time.Duration, error) {
	if _, there := f.mirror.Get(k); !there {
		return 0, nil
	}
	out := f.cfg.Dialect.Step(f.mirror, k, time.Now())
	for _, r := range out.Put {
		if err := f.write(ctx, r); err != nil {
			return f.crossed(err)
		}
	}
	for _, r := range out.Delete {
		_, err := f.cfg.Store.Delete(ctx, r.Key, r.Revision)
		if err != nil && !api.IsCode(err, api.CodeNotFound) {
			return f.crossed(err)
		}
	}
	for _, e := range out.Events {
		f.events.record(ctx, e.InvolvedObject, e.Type, e.Reason, e.Message)
	}
	if out.Resolve != nil {
		if f.soft.draft(k, draft{out.Resolve, out.Within}) {
			f.images.add(k)
		}
	}
	return out.Again, nil
}

// crossedWait is how long another's write takes to be seen.
const crossedWait = 20 * time.Millisecond

// crossed deals with a write that met another one: the other is about to be
// seen, and then there is another look.
func (f *Foreign) crossed(err error) (time.Duration, error) {
	if api.IsCode(err, api.CodeConflict) || api.IsCode(err, api.CodeExists) || api.IsCode(err, api.CodeNotFound) {
		return crossedWait, nil
	}
	return 0, err
}

// resolve is the loop of images.
func (f *Foreign) resolve(ctx context.Context, k store.Key) (time.Duration, error) {
	draft := f.soft.drafted(k)
	if draft.revision == nil {
		return 0, nil
	}
	var images map[string]string
	var err error
	if f.cfg.Resolve != nil {
		images, err = f.cfg.Resolve(ctx, draft.revision, draft.within)
	}
	if ctx.Err() != nil {
		return 0, nil
	}
	f.mirror.setImages(draft.revision.Metadata.UID, images, err)
	f.steps.add(k)
	if err != nil {
		return f.soft.failed(k, time.Now()), nil
	}
	f.soft.succeeded(k)
	return 0, nil
}
