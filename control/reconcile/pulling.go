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

// reasonPulling is the reason of conditions while images are fetched.
const reasonPulling = "Pulling"

// sayEvery is the time between two writes about how far a fetch is. One that is
// over sooner is not worth any.
const sayEvery = time.Second

// telling runs f, and says meanwhile how far what it fetches is.
func telling(ctx context.Context, f func(context.Context) error, say func(message string)) error {
	var newest atomic.Pointer[engine.Progress]
	told := engine.WithProgress(ctx, func(p engine.Progress) { newest.Store(&p) })
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(sayEvery)
		defer t.Stop()
		for said := (engine.Progress{}); ; {
			select {
			case <-stop:
				return
			case <-t.C:
				if p := newest.Load(); p != nil && *p != said {
					said = *p
					say(pulled(said))
				}
			}
		}
	}()
	err := f(told)
	close(stop)
	<-stopped
	return err
}

func pulled(p engine.Progress) string {
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	if p.Done < p.Total {
		return fmt.Sprintf("fetching the image: %.1f of %.1f MiB", mib(p.Done), mib(p.Total))
	}
	return fmt.Sprintf("the image was fetched (%.1f MiB); it is unpacked and started", mib(p.Total))
}

// sayPulling writes how far it is into the native revision at k, unless that has
// its verdict: an earlier try failed, or another one succeeded.
func sayPulling(ctx context.Context, st store.Store, k store.Key, message string) error {
	return writeStatus(ctx, st, k, func(v *api.Revision) *api.RevisionStatus { return &v.Status }, func(v *api.Revision) bool {
		if c, ok := v.Status.Conditions.Get(api.ConditionReady); ok && c.Status != api.Unknown {
			return false
		}
		v.Status.Conditions = v.Status.Conditions.Set(api.Condition{
			Type: api.ConditionReady, Status: api.Unknown, Reason: reasonPulling, Message: message, ObservedGeneration: v.Metadata.Generation,
		}, time.Now())
		return true
	})
}

// pulling writes how far the image of rev is into it and the function.
func (a *attempt) pulling(ctx context.Context, rev *api.Revision, message string) {
	err := sayPulling(ctx, a.r.cfg.Store, revisionKey(a.k.Namespace, rev.Metadata.Name), message)
	if err == nil && !a.retry {
		err = a.write(ctx, func(f *api.Function) {
			a.set(f, api.Condition{Type: api.ConditionUpdated, Status: api.Unknown, Reason: reasonPulling, Message: message})
			if f.Status.LatestReadyRevision == "" {
				a.set(f, api.Condition{Type: api.ConditionReady, Status: api.Unknown, Reason: reasonPulling, Message: message})
			}
		})
	}
	if err != nil && ctx.Err() == nil {
		a.r.failed(a.k, err)
	}
}
