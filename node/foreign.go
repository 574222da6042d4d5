package node

import (
	"time"

	"github.com/hearth-run/hearth/control/reconcile"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/dialect/knative"
)

// knativeLoop plugs the dialect into the loop of foreign objects.
type knativeLoop struct{ *knative.Dialect }

// Step implements reconcile.Dialect.
func (l knativeLoop) Step(v reconcile.View, k store.Key, now time.Time) reconcile.Outcome {
	return reconcile.Outcome(l.Dialect.Step(v, k, now))
}

// foreignLoop makes what brings Knative's objects to life.
func (n *Node) foreignLoop() *reconcile.Foreign {
	d := knative.New(knative.Config{Domain: n.cfg.Domain, URL: n.withHost})
	cfg := reconcile.ForeignConfig{
		Store: n.store, Dialect: knativeLoop{d}, Resolve: n.resolveImages, Check: n.check, Retire: n.scaler.Retire, Log: n.cfg.Log,
	}
	if n.pods != nil {
		cfg.Replicas = n.pods.of
	}
	return reconcile.NewForeign(cfg)
}
