package node

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics answers /metrics: the gateway's counters, the scaler's and the engine's
// state, and the process itself. It is served by the API, so it needs a token.
func (n *Node) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(n.gateway.Collector(), newState(n), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// state reads the scaler and the engine when asked, so that counting costs
// nothing in between.
type state struct {
	n                                    *Node
	instances, busy, queued, warm, drops *prometheus.Desc
}

func newState(n *Node) *state {
	labels := []string{"namespace", "function", "revision"}
	return &state{
		n:         n,
		instances: prometheus.NewDesc("hearth_instances", "Instances taking calls.", labels, nil),
		busy:      prometheus.NewDesc("hearth_instance_calls", "Calls in progress on instances.", labels, nil),
		queued:    prometheus.NewDesc("hearth_queued_calls", "Calls waiting for a slot.", labels, nil),
		warm:      prometheus.NewDesc("hearth_pool_instances", "Warm instances without user code.", []string{"runtime"}, nil),
		drops:     prometheus.NewDesc("hearth_records_dropped_total", "Call records and log lines lost because they came too fast.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (s *state) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.instances, s.busy, s.queued, s.warm, s.drops} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (s *state) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for _, r := range s.n.scaler.Stats() {
		if r.Instances+r.Busy+r.Queued == 0 {
			continue // a series of its own only while there is something to say
		}
		gauge(s.instances, r.Instances, r.Tenant, r.Function, r.Revision)
		gauge(s.busy, r.Busy, r.Tenant, r.Function, r.Revision)
		gauge(s.queued, r.Queued, r.Tenant, r.Function, r.Revision)
	}
	for name, v := range s.n.engine.Warm() {
		gauge(s.warm, v, name)
	}
	c <- prometheus.MustNewConstMetric(s.drops, prometheus.CounterValue, float64(s.n.records.Dropped()))
}
