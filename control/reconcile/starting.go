package reconcile

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
)

// Reasons of conditions between a build and its verdict.
const (
	reasonPulling  = "Pulling"  // images are fetched
	reasonStarting = "Starting" // an instance is made and asked whether it is ready
)

// sayEvery is the time between two writes about how far a start is. One that is
// over sooner is not worth any.
const sayEvery = time.Second

// startStage is how far a start is.
type startStage struct{ reason, message string }

// telling runs f, and says meanwhile how far it is: what it has fetched, then
// what waits says the instance waits for.
func telling(ctx context.Context, f func(context.Context) error, waits func() string, say func(startStage)) error {
	var newest atomic.Pointer[engine.Progress]
	told := engine.WithProgress(ctx, func(p engine.Progress) { newest.Store(&p) })
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(sayEvery)
		defer t.Stop()
		for said := (startStage{}); ; {
			select {
			case <-stop:
				return
			case <-t.C:
				if s := stageOf(newest.Load(), waits()); s != said {
					said = s
					say(s)
				}
			}
		}
	}()
	err := f(told)
	close(stop)
	<-stopped
	return err
}

// waiting asks a Config's Waits, if there is one, about rev.
func waiting(waits func(namespace, revision string) string, rev *api.Revision) func() string {
	return func() string {
		if waits == nil {
			return ""
		}
		return waits(rev.Metadata.Namespace, rev.Metadata.Name)
	}
}

// stageOf puts in words what is fetched, if anything is, and what is waited for.
func stageOf(p *engine.Progress, waits string) startStage {
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	switch {
	case p != nil && p.Done < p.Total:
		return startStage{reasonPulling, fmt.Sprintf("fetching the image: %.1f of %.1f MiB", mib(p.Done), mib(p.Total))}
	case waits != "":
		return startStage{reasonStarting, "waiting for " + waits}
	case p != nil:
		return startStage{reasonStarting, fmt.Sprintf("the image was fetched (%.1f MiB); it is unpacked and started", mib(p.Total))}
	}
	return startStage{reasonStarting, "an instance is being started"}
}

// sayStage writes how far it is into the native revision at k, unless that has
// its verdict: an earlier try failed, or another one succeeded.
func sayStage(ctx context.Context, st store.Store, k store.Key, s startStage) error {
	return writeStatus(ctx, st, k, func(v *api.Revision) *api.RevisionStatus { return &v.Status }, func(v *api.Revision) bool {
		if c, ok := v.Status.Conditions.Get(api.ConditionReady); ok && c.Status != api.Unknown {
			return false
		}
		v.Status.Conditions = v.Status.Conditions.Set(api.Condition{
			Type: api.ConditionReady, Status: api.Unknown, Reason: s.reason, Message: s.message, ObservedGeneration: v.Metadata.Generation,
		}, time.Now())
		return true
	})
}

// starting writes how far the start of rev is into it and the function, whose
// build is over.
func (a *attempt) starting(ctx context.Context, rev *api.Revision, s startStage) {
	err := sayStage(ctx, a.r.cfg.Store, revisionKey(a.k.Namespace, rev.Metadata.Name), s)
	if err == nil && !a.retry {
		err = a.write(ctx, func(f *api.Function) {
			a.buildInfo(f, "Succeeded", "")
			a.set(f, api.Condition{Type: api.ConditionBuilt, Status: api.True, Reason: "Built"})
			a.set(f, api.Condition{Type: api.ConditionUpdated, Status: api.Unknown, Reason: s.reason, Message: s.message})
			if f.Status.LatestReadyRevision == "" {
				a.set(f, api.Condition{Type: api.ConditionReady, Status: api.Unknown, Reason: s.reason, Message: s.message})
			}
		})
	}
	if err != nil && ctx.Err() == nil {
		a.r.failed(a.k, err)
	}
}
