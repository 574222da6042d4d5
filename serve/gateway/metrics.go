package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bounds are the upper ends of the duration histogram's buckets.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 60 * time.Second,
}

// counts are the counters of one function, found without a look-up.
type counts struct {
	namespace, name string
	classes         [6]atomic.Uint64 // by first digit of the status; 0: none
	inFlight        atomic.Int64
	cold            atomic.Uint64
	queued          atomic.Uint64 // nanoseconds
	buckets         [len(bounds) + 1]atomic.Uint64
	sum             atomic.Uint64 // nanoseconds
}

func (c *counts) done(status int, took time.Duration) {
	class := status / 100
	if class < 0 || class >= len(c.classes) {
		class = 0
	}
	c.classes[class].Add(1)
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	c.buckets[i].Add(1)
	c.sum.Add(uint64(took))
}

// metrics are all counters. A function gets its own with its first call, while
// there is room; later ones share.
type metrics struct {
	most  int
	none  counts // requests that led to no function
	other counts

	mu  sync.Mutex
	all []*counts
	by  map[string]*counts
}

func (m *metrics) init(most int) {
	if most <= 0 {
		most = 1000
	}
	m.most, m.by = most, map[string]*counts{}
	m.other.name, m.none.name = "_other", "_none"
}

func (m *metrics) of(f *function) *counts {
	if c := f.counts.Load(); c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := f.counts.Load(); c != nil {
		return c
	}
	key := f.namespace + "/" + f.name
	c := m.by[key] // deleted and made again
	if c == nil {
		if c = &m.other; len(m.all) < m.most {
			c = &counts{namespace: f.namespace, name: f.name}
			m.all, m.by[key] = append(m.all, c), c
		}
	}
	f.counts.Store(c)
	return c
}

// Collector exposes the gateway's counters: calls by function and class of
// status, their duration, calls in flight, cold starts and time in queues.
func (g *Gateway) Collector() prometheus.Collector { return &collector{g} }

type collector struct{ g *Gateway }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hearth_gateway_"+name, help, append([]string{"namespace", "function"}, labels...), nil)
}

// Describe implements prometheus.Collector: the series are not known before.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	m := &c.g.m
	m.mu.Lock()
	all := append([]*counts{&m.none, &m.other}, m.all...)
	m.mu.Unlock()
	var (
		requests = desc("requests_total", "Calls answered, by class of status.", "class")
		duration = desc("request_duration_seconds", "Time from arrival to the last byte.")
		inFlight = desc("in_flight", "Calls in progress.")
		cold     = desc("cold_starts_total", "Calls that waited for an instance to start.")
		queued   = desc("queue_seconds_total", "Time calls waited for an instance.")
		classes  = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}
	)
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("hearth_gateway_mirrors_dropped_total", "Copies not sent because too many were under way.", nil, nil),
		prometheus.CounterValue, float64(c.g.mirrors.dropped.Load()))
	for _, k := range all {
		l := []string{k.namespace, k.name}
		for i := range k.classes {
			if n := k.classes[i].Load(); n > 0 {
				out <- prometheus.MustNewConstMetric(requests, prometheus.CounterValue, float64(n), k.namespace, k.name, classes[i])
			}
		}
		buckets, n := make(map[float64]uint64, len(bounds)), uint64(0)
		for i, b := range bounds {
			n += k.buckets[i].Load()
			buckets[b.Seconds()] = n
		}
		n += k.buckets[len(bounds)].Load()
		out <- prometheus.MustNewConstHistogram(duration, n, float64(k.sum.Load())/1e9, buckets, l...)
		out <- prometheus.MustNewConstMetric(inFlight, prometheus.GaugeValue, float64(k.inFlight.Load()), l...)
		out <- prometheus.MustNewConstMetric(cold, prometheus.CounterValue, float64(k.cold.Load()), l...)
		out <- prometheus.MustNewConstMetric(queued, prometheus.CounterValue, float64(k.queued.Load())/1e9, l...)
	}
}
