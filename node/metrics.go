package node

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hearth-run/hearth/api"
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
	n                                                          *Node
	instances, resting, busy, queued, cpu, memory, warm, drops *prometheus.Desc
}

func newState(n *Node) *state {
	labels := []string{"namespace", "function", "revision"}
	return &state{
		n:         n,
		instances: prometheus.NewDesc("hearth_instances", "Instances there are for calls.", labels, nil),
		resting:   prometheus.NewDesc("hearth_instances_resting", "Of these, instances that are not ready for calls now.", labels, nil),
		busy:      prometheus.NewDesc("hearth_instance_calls", "Calls in progress on instances.", labels, nil),
		queued:    prometheus.NewDesc("hearth_queued_calls", "Calls waiting for a slot.", labels, nil),
		cpu:       prometheus.NewDesc("hearth_instance_processors", "Processors one instance keeps busy, in the mean, where their number follows that.", labels, nil),
		memory:    prometheus.NewDesc("hearth_instance_memory_bytes", "Memory one instance uses, in the mean, where their number follows that.", labels, nil),
		warm:      prometheus.NewDesc("hearth_pool_instances", "Warm instances without user code.", []string{"runtime"}, nil),
		drops:     prometheus.NewDesc("hearth_records_dropped_total", "Call records and log lines lost because they came too fast.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (s *state) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.instances, s.resting, s.busy, s.queued, s.cpu, s.memory, s.warm, s.drops} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (s *state) Collect(c chan<- prometheus.Metric) {
	value := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) { value(d, float64(v), labels...) }
	for _, r := range s.n.scaler.Stats() {
		if r.Instances+r.Busy+r.Queued == 0 {
			continue // a series of its own only while there is something to say
		}
		gauge(s.instances, r.Instances, r.Tenant, r.Function, r.Revision)
		gauge(s.resting, r.Resting, r.Tenant, r.Function, r.Revision)
		gauge(s.busy, r.Busy, r.Tenant, r.Function, r.Revision)
		gauge(s.queued, r.Queued, r.Tenant, r.Function, r.Revision)
		switch r.Metric {
		case api.MetricCPU:
			value(s.cpu, r.Used, r.Tenant, r.Function, r.Revision)
		case api.MetricMemory:
			value(s.memory, r.Used, r.Tenant, r.Function, r.Revision)
		}
	}
	for name, v := range s.n.engine.Warm() {
		gauge(s.warm, v, name)
	}
	c <- prometheus.MustNewConstMetric(s.drops, prometheus.CounterValue, float64(s.n.records.Dropped()))
}
