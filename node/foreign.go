package node

import (
	"context"
	"net"
	"strconv"
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

// told is a store that tells of each write before it is acknowledged: what a
// client wrote holds for the next thing it writes.
type told struct {
	store.Store
	tell func(store.EventType, store.Record)
}

// Apply implements store.Store.
func (t told) Apply(ctx context.Context, k store.Key, value []byte, expect int64) (store.Record, error) {
	r, err := t.Store.Apply(ctx, k, value, expect)
	if err == nil {
		t.tell(store.EventPut, r)
	}
	return r, err
}

// Delete implements store.Store.
func (t told) Delete(ctx context.Context, k store.Key, expect int64) (store.Record, error) {
	r, err := t.Store.Delete(ctx, k, expect)
	if err == nil {
		t.tell(store.EventDelete, r)
	}
	return r, err
}

// knativeSettings are those of Knative's ConfigMaps, as they are now.
func (n *Node) knativeSettings() knative.Settings {
	get := n.foreign.Get
	if !n.foreign.Listed() { // the first moments
		get = func(k store.Key) (store.Record, bool) {
			r, err := n.store.Get(context.Background(), k) // of this machine, and short
			return r, err == nil
		}
	}
	return knative.ReadSettings(get)
}

// withSecureHost is the gateway's address under another host name, for HTTPS:
// its own where it has one, else that of whatever stands in front of it.
func (n *Node) withSecureHost(host string) string {
	if scheme, _, _ := cutScheme(n.GatewayURL); scheme == "https" {
		return n.withHost(host)
	}
	if p := n.tlsPort(); p != 0 && p != 443 {
		return "https://" + net.JoinHostPort(host, strconv.Itoa(p))
	}
	return "https://" + host
}

// foreignLoop makes what brings Knative's objects to life.
func (n *Node) foreignLoop() *reconcile.Foreign {
	d := knative.New(knative.Config{Domain: n.cfg.Domain, URL: n.withHost, SecureURL: n.withSecureHost, ACME: n.cfg.ACME != nil})
	cfg := reconcile.ForeignConfig{
		Store: n.store, Dialect: knativeLoop{d}, Resolve: n.resolveImages, Check: n.check, Waits: n.waits, Observe: n.gateway.Observe, Retire: n.scaler.Retire, Log: n.cfg.Log,
	}
	if n.pods != nil {
		cfg.Replicas = n.pods.of
	}
	return reconcile.NewForeign(cfg)
}
