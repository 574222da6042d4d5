package knative

import (
	"maps"
	"text/template"
	"time"
)

// Settings are what a cluster's administrator sets in Knative's ConfigMaps, the
// config-* of namespace knative-serving. Values are shared: do not change them.
type Settings struct {
	// config-defaults
	TimeoutSeconds              int64                        // of revisions that name none
	MaxTimeoutSeconds           int64                        // most they may name
	ResponseStartTimeoutSeconds int64                        // written where it is less than the timeout; 0: none
	IdleTimeoutSeconds          int64                        // likewise
	Concurrency                 int64                        // of revisions that name none
	MaxConcurrency              int64                        // most they may name
	ZeroConcurrency             bool                         // whether they may name 0, which is no limit
	Resources                   map[string]map[string]string // "requests" and "limits" of containers that name none
	ServiceLinks                *bool                        // nil: nothing is written
	names, initNames            *template.Template           // of containers without one; nil: user-container, init-container

	// config-autoscaler
	MaxScaleLimit    int64             // most that max-scale may be; 0: no limit
	ZeroInitialScale bool              // whether initial-scale may be 0
	Class            string            // of revisions that name none
	autoscaler       map[string]string // as it was written

	// config-features
	features   map[Feature]bool
	securePods string // secure-pod-defaults
	tagHeader  string // tag-header-based-routing; empty: where there are tags

	// config-network and config-domain
	host, tag   *template.Template // domain-template, tag-template; nil: the usual hosts
	rollout     time.Duration      // rollout-duration
	autoClaim   bool               // autocreate-cluster-domain-claims
	redirect    bool               // http-protocol
	https       bool               // default-external-scheme
	autoTLS     bool               // external-domain-tls
	domains     []domain           // the most exact first
	logTemplate string             // config-observability: logging.revision-url-template

	// config-deployment and config-gc
	deadline   time.Duration // progress-deadline
	resolving  time.Duration // digest-resolution-timeout
	unresolved []string      // registries-skipping-tag-resolving
	retention  retention

	// ClusterDomain is the domain under which no DomainMapping may be.
	ClusterDomain string
}

// Feature is something revisions may use only where it is switched on.
type Feature string

// The features, by their names in config-features.
const (
	MultiContainer        Feature = "multi-container"
	SidecarProbes         Feature = "multi-container-probing"
	InitContainers        Feature = "kubernetes.podspec-init-containers"
	EmptyDir              Feature = "kubernetes.podspec-volumes-emptydir"
	FieldRef              Feature = "kubernetes.podspec-fieldref"
	AddCapabilities       Feature = "kubernetes.containerspec-addcapabilities"
	Affinity              Feature = "kubernetes.podspec-affinity"
	TopologySpread        Feature = "kubernetes.podspec-topologyspreadconstraints"
	HostAliases           Feature = "kubernetes.podspec-hostaliases"
	NodeSelector          Feature = "kubernetes.podspec-nodeselector"
	RuntimeClass          Feature = "kubernetes.podspec-runtimeclassname"
	Tolerations           Feature = "kubernetes.podspec-tolerations"
	PodSecurity           Feature = "kubernetes.podspec-securitycontext"
	ShareProcessNamespace Feature = "kubernetes.podspec-shareprocessnamespace"
	PriorityClass         Feature = "kubernetes.podspec-priorityclassname"
	Scheduler             Feature = "kubernetes.podspec-schedulername"
	DNSPolicy             Feature = "kubernetes.podspec-dnspolicy"
	DNSConfig             Feature = "kubernetes.podspec-dnsconfig"
	HostIPC               Feature = "kubernetes.podspec-hostipc"
	HostPID               Feature = "kubernetes.podspec-hostpid"
	HostNetwork           Feature = "kubernetes.podspec-hostnetwork"
)

// DefaultSettings are those without any ConfigMap: Knative's own, but for what
// follows.
//
//   - Init containers and the probes of sidecars are on: they cost nothing here.
//   - Public hosts end in the node's own domain (localhost), not in
//     svc.cluster.local, so that a Service can be called as soon as it is there.
//     The domain's template is only asked where one is set.
//   - The header Knative-Serving-Tag names a tag where there are tags; disabled
//     switches that off, enabled has the default route told as well.
//   - HTTP/1 is full duplex always, without features.knative.dev/http-full-duplex.
//   - What belongs to the proxy Knative puts beside a container, to its ingress
//     or to a cluster's scheduler has no effect; whoever sets it is told.
func DefaultSettings() Settings {
	return Settings{
		TimeoutSeconds: 300, MaxTimeoutSeconds: 600, ResponseStartTimeoutSeconds: 300, MaxConcurrency: 1000, ZeroConcurrency: true,
		ServiceLinks: new(bool), ClusterDomain: "cluster.local", Class: classKPA,
		features:  map[Feature]bool{MultiContainer: true, SidecarProbes: true, InitContainers: true, EmptyDir: true},
		deadline:  10 * time.Minute,
		resolving: 10 * time.Second, unresolved: []string{"kind.local", "ko.local", "dev.local"},
		retention: defaultRetention(),
	}
}

// clone returns a copy whose maps can be changed.
func (s Settings) clone() Settings {
	s.features, s.Resources = maps.Clone(s.features), map[string]map[string]string{"requests": maps.Clone(s.Resources["requests"]), "limits": maps.Clone(s.Resources["limits"])}
	return s
}

func (s Settings) on(f Feature) bool { return s.features[f] }
