package knative

import "github.com/hearth-run/hearth/api"

// Groups and versions of the kinds.
const (
	GroupServing      = "serving.knative.dev"
	GroupNetworking   = "networking.internal.knative.dev"
	APIVersion        = GroupServing + "/v1"
	APIVersionDomain  = GroupServing + "/v1beta1"
	APIVersionNetwork = GroupNetworking + "/v1alpha1"
)

// Store keys of the kinds, as api.Kind.Resource gives them.
const (
	Services       = "services." + GroupServing
	Configurations = "configurations." + GroupServing
	Revisions      = "revisions." + GroupServing
	Routes         = "routes." + GroupServing
	DomainMappings = "domainmappings." + GroupServing
	DomainClaims   = "clusterdomainclaims." + GroupNetworking
	CoreServices   = "services"
	Accounts       = "serviceaccounts"
)

// Service owns one Configuration and one Route of its name.
type Service struct {
	api.TypeMeta
	Metadata api.Meta      `json:"metadata"`
	Spec     ServiceSpec   `json:"spec,omitzero"`
	Status   ServiceStatus `json:"status,omitzero"`
}

// ServiceSpec is what to run and who gets its traffic.
type ServiceSpec struct {
	Template Template `json:"template,omitzero" doc:"What the next revision is made of; every change makes one."`
	Traffic  []Target `json:"traffic,omitempty" doc:"How requests are shared among revisions; all to the latest ready one by default."`
}

// Template is what revisions are stamped from.
type Template struct {
	Metadata api.Meta     `json:"metadata,omitzero" doc:"Name (PREFIX-ANYTHING, where SERVICE is the prefix), labels and annotations of the revision."`
	Spec     RevisionSpec `json:"spec,omitzero"`
}

// Target gets a share of the traffic.
type Target struct {
	Tag               string `json:"tag,omitempty" doc:"Name under which the target is reached apart, whatever its percent: TAG-NAME."`
	RevisionName      string `json:"revisionName,omitempty"`
	ConfigurationName string `json:"configurationName,omitempty" doc:"Whose latest ready revision is meant; only in a Route."`
	LatestRevision    *bool  `json:"latestRevision,omitempty" doc:"True where the latest ready revision is meant: no revisionName is given."`
	Percent           *int64 `json:"percent,omitempty" doc:"Share of the requests, 0 to 100; the sum is 100."`
	URL               string `json:"url,omitempty" doc:"Address of the tag; in status only."`
}

// Address is where something answers from inside.
type Address struct {
	Name     string  `json:"name,omitempty"`
	URL      string  `json:"url,omitempty"`
	CACerts  *string `json:"CACerts,omitempty"`
	Audience *string `json:"audience,omitempty"`
}

// Status is what the status of every kind has.
type Status struct {
	ObservedGeneration int64             `json:"observedGeneration,omitempty" doc:"Generation of the spec this status is about."`
	Conditions         api.Conditions    `json:"conditions,omitempty"`
	Annotations        map[string]string `json:"annotations,omitempty"`
}

// ServiceStatus is what became of a Service.
type ServiceStatus struct {
	Status
	URL                       string   `json:"url,omitempty"`
	Address                   *Address `json:"address,omitempty"`
	LatestCreatedRevisionName string   `json:"latestCreatedRevisionName,omitempty"`
	LatestReadyRevisionName   string   `json:"latestReadyRevisionName,omitempty"`
	Traffic                   []Target `json:"traffic,omitempty"`
}

// Configuration stamps a Revision for every change of its template.
type Configuration struct {
	api.TypeMeta
	Metadata api.Meta            `json:"metadata"`
	Spec     ConfigurationSpec   `json:"spec,omitzero"`
	Status   ConfigurationStatus `json:"status,omitzero"`
}

// ConfigurationSpec is what to run.
type ConfigurationSpec struct {
	Template Template `json:"template,omitzero"`
}

// ConfigurationStatus names the newest revisions.
type ConfigurationStatus struct {
	Status
	LatestCreatedRevisionName string `json:"latestCreatedRevisionName,omitempty"`
	LatestReadyRevisionName   string `json:"latestReadyRevisionName,omitempty"`
}

// Revision is an immutable copy of a template.
type Revision struct {
	api.TypeMeta
	Metadata api.Meta       `json:"metadata"`
	Spec     RevisionSpec   `json:"spec,omitzero"`
	Status   RevisionStatus `json:"status,omitzero"`
}

// RevisionSpec is a pod of containers and how requests are handed to it.
type RevisionSpec struct {
	PodSpec
	ContainerConcurrency        *int64 `json:"containerConcurrency,omitempty" doc:"Most requests an instance answers at a time, 0 to 1000; 0, the default, is no limit."`
	TimeoutSeconds              *int64 `json:"timeoutSeconds,omitempty" doc:"Longest time for a whole request; 300 by default, at most 600."`
	ResponseStartTimeoutSeconds *int64 `json:"responseStartTimeoutSeconds,omitempty" doc:"Longest time to the first byte of the answer."`
	IdleTimeoutSeconds          *int64 `json:"idleTimeoutSeconds,omitempty" doc:"Longest time without a byte of the answer."`
}

// PodSpec is the part of Kubernetes' pod that a revision may have. What stands
// after InitContainers is refused unless its Feature is on.
type PodSpec struct {
	Containers                   []api.Container `json:"containers,omitempty" list:"atomic" doc:"The programs; exactly one of them has a port."`
	Volumes                      []api.Volume    `json:"volumes,omitempty"`
	ServiceAccountName           string          `json:"serviceAccountName,omitempty"`
	ImagePullSecrets             []api.LocalRef  `json:"imagePullSecrets,omitempty"`
	EnableServiceLinks           *bool           `json:"enableServiceLinks,omitempty"`
	AutomountServiceAccountToken *bool           `json:"automountServiceAccountToken,omitempty" doc:"Only false is possible."`
	InitContainers               []api.Container `json:"initContainers,omitempty" list:"atomic" doc:"Programs that run to their end, one after the other, before the containers start."`

	Affinity                  any                 `json:"affinity,omitempty"`
	TopologySpreadConstraints any                 `json:"topologySpreadConstraints,omitempty"`
	HostAliases               any                 `json:"hostAliases,omitempty"`
	NodeSelector              map[string]string   `json:"nodeSelector,omitempty"`
	RuntimeClassName          *string             `json:"runtimeClassName,omitempty"`
	Tolerations               any                 `json:"tolerations,omitempty"`
	SecurityContext           *PodSecurityContext `json:"securityContext,omitempty"`
	ShareProcessNamespace     *bool               `json:"shareProcessNamespace,omitempty"`
	PriorityClassName         string              `json:"priorityClassName,omitempty"`
	SchedulerName             string              `json:"schedulerName,omitempty"`
	DNSPolicy                 string              `json:"dnsPolicy,omitempty"`
	DNSConfig                 any                 `json:"dnsConfig,omitempty"`
	HostIPC                   bool                `json:"hostIPC,omitempty"`
	HostPID                   bool                `json:"hostPID,omitempty"`
	HostNetwork               bool                `json:"hostNetwork,omitempty"`
}

// PodSecurityContext is who all containers of a pod run as.
type PodSecurityContext struct {
	RunAsUser          *int64              `json:"runAsUser,omitempty"`
	RunAsGroup         *int64              `json:"runAsGroup,omitempty"`
	RunAsNonRoot       *bool               `json:"runAsNonRoot,omitempty"`
	FSGroup            *int64              `json:"fsGroup,omitempty"`
	SupplementalGroups []int64             `json:"supplementalGroups,omitempty"`
	SeccompProfile     *api.SeccompProfile `json:"seccompProfile,omitempty"`
}

// RevisionStatus is what became of a Revision.
type RevisionStatus struct {
	Status
	ServiceName           string            `json:"serviceName,omitempty"`
	LogURL                string            `json:"logUrl,omitempty"`
	ContainerStatuses     []ContainerStatus `json:"containerStatuses,omitempty"`
	InitContainerStatuses []ContainerStatus `json:"initContainerStatuses,omitempty"`
	ActualReplicas        *int32            `json:"actualReplicas,omitempty"`
	DesiredReplicas       *int32            `json:"desiredReplicas,omitempty"`
}

// ContainerStatus is the image a container really runs.
type ContainerStatus struct {
	Name        string `json:"name,omitempty"`
	ImageDigest string `json:"imageDigest,omitempty"`
}

// Route shares the traffic of a host among revisions.
type Route struct {
	api.TypeMeta
	Metadata api.Meta    `json:"metadata"`
	Spec     RouteSpec   `json:"spec,omitzero"`
	Status   RouteStatus `json:"status,omitzero"`
}

// RouteSpec is who gets the traffic.
type RouteSpec struct {
	Traffic []Target `json:"traffic,omitempty"`
}

// RouteStatus is where a Route answers, and its targets as revisions.
type RouteStatus struct {
	Status
	URL     string   `json:"url,omitempty"`
	Address *Address `json:"address,omitempty"`
	Traffic []Target `json:"traffic,omitempty"`
}

// DomainMapping makes a Service answer under a host of its own: its name.
type DomainMapping struct {
	api.TypeMeta
	Metadata api.Meta            `json:"metadata"`
	Spec     DomainMappingSpec   `json:"spec,omitzero"`
	Status   DomainMappingStatus `json:"status,omitzero"`
}

// DomainMappingSpec is what answers.
type DomainMappingSpec struct {
	Ref Reference  `json:"ref" doc:"What answers: a Service or Route in the same namespace."`
	TLS *SecretTLS `json:"tls,omitempty" doc:"Certificate for the host."`
}

// Reference names an object that has an address.
type Reference struct {
	Kind       string  `json:"kind,omitempty"`
	Namespace  string  `json:"namespace,omitempty"`
	Name       string  `json:"name,omitempty"`
	APIVersion string  `json:"apiVersion,omitempty"`
	Group      string  `json:"group,omitempty"`
	Address    *string `json:"address,omitempty"`
}

// SecretTLS names a Secret of type kubernetes.io/tls.
type SecretTLS struct {
	SecretName string `json:"secretName"`
}

// DomainMappingStatus is where it answers.
type DomainMappingStatus struct {
	Status
	URL     string   `json:"url,omitempty"`
	Address *Address `json:"address,omitempty"`
}

// DomainClaim reserves a host, its name, for one namespace.
type DomainClaim struct {
	api.TypeMeta
	Metadata api.Meta        `json:"metadata"`
	Spec     DomainClaimSpec `json:"spec,omitzero"`
}

// DomainClaimSpec is who holds the host.
type DomainClaimSpec struct {
	Namespace string `json:"namespace"`
}
