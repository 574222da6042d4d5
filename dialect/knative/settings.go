package knative

// Settings are what a cluster's administrator sets in Knative's ConfigMaps.
type Settings struct {
	TimeoutSeconds              int64  // of revisions that name none; 300
	MaxTimeoutSeconds           int64  // 600
	ResponseStartTimeoutSeconds int64  // written where it is less than the timeout; 300
	IdleTimeoutSeconds          int64  // likewise; 0, which is none
	MaxConcurrency              int64  // 1000
	MaxScaleLimit               int64  // most that max-scale may be; 0: no limit
	ZeroInitialScale            bool   // whether initial-scale may be 0
	ClusterDomain               string // under which no DomainMapping may be; cluster.local
	Features                    []Feature
}

// Feature is something revisions may use only where it is switched on.
type Feature string

// The features, by their names in config-features.
const (
	InitContainers        Feature = "kubernetes.podspec-init-containers"
	SidecarProbes         Feature = "multi-container-probing"
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

// DefaultSettings are Knative's own, with what costs nothing here switched on:
// init containers and the probes of sidecars.
func DefaultSettings() Settings {
	return Settings{
		TimeoutSeconds: 300, MaxTimeoutSeconds: 600, ResponseStartTimeoutSeconds: 300, MaxConcurrency: 1000,
		ClusterDomain: "cluster.local", Features: []Feature{InitContainers, SidecarProbes},
	}
}

func (s Settings) on(f Feature) bool {
	for _, g := range s.Features {
		if g == f {
			return true
		}
	}
	return false
}
