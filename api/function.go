package api

import "time"

// Defaults of a function, used where its spec is silent.
const (
	DefaultTimeout     = 60 * time.Second
	DefaultIdle        = 2 * time.Minute
	DefaultMaxScale    = 100
	DefaultMemory      = 256 << 20 // bytes
	DefaultProcesses   = 128
	DefaultDisk        = 64 << 20 // bytes, of the private /tmp
	DefaultBodyLimit   = 100 << 20
	DefaultConcurrency = 1
)

// Function is code that answers a call.
type Function struct {
	TypeMeta
	Metadata Meta           `json:"metadata"`
	Spec     FunctionSpec   `json:"spec"`
	Status   FunctionStatus `json:"status,omitzero"`
}

// FunctionSpec is what its author wants.
type FunctionSpec struct {
	Runtime     string      `json:"runtime,omitempty" doc:"Runtime that loads the code: node, python, go, command, or the name of a Runtime in the namespace."`
	Source      Source      `json:"source" doc:"Where the code comes from; exactly one of its fields."`
	Handler     string      `json:"handler,omitempty" doc:"What to call: file.export for node, module.name or module:app for python; empty finds the usual names."`
	Build       *BuildSpec  `json:"build,omitempty" doc:"How the source becomes an artifact, where the runtime's own way does not fit."`
	Command     []string    `json:"command,omitempty" doc:"Program and arguments; only for the command runtime and for images, instead of their entrypoint."`
	Port        *ServePort  `json:"port,omitempty" doc:"Where a program serves; 8080 and HTTP/1.1 by default."`
	PullSecrets []LocalRef  `json:"pullSecrets,omitempty" doc:"Secrets (kubernetes.io/dockerconfigjson) with which a private image is pulled."`
	Env         []EnvVar    `json:"env,omitempty" doc:"Environment variables."`
	EnvFrom     []EnvSource `json:"envFrom,omitempty" doc:"Secrets and ConfigMaps whose every key becomes an environment variable."`
	Secrets     []string    `json:"secrets,omitempty" doc:"Secrets shown as files /secrets/NAMESPACE/NAME/KEY."`
	Config      []string    `json:"config,omitempty" doc:"ConfigMaps shown as files /configs/NAMESPACE/NAME/KEY."`
	Limits      Limits      `json:"limits,omitzero" doc:"What one instance may use."`
	Timeout     *Duration   `json:"timeout,omitempty" doc:"Longest time for one call, from arrival to the last byte; 60s by default."`
	Concurrency int         `json:"concurrency,omitempty" min:"-1" max:"10000" doc:"Calls one instance answers at a time, -1 for any number; 1 by default, -1 for images."`
	Scale       Scale       `json:"scale,omitzero" doc:"How many instances there may be."`
	Network     string      `json:"network,omitempty" enum:"host,private,none" doc:"host shares the machine's network, private has its own with a way out, none has no way out. The default depends on the runtime."`
	BodyLimit   Quantity    `json:"bodyLimit,omitempty" doc:"Largest request body; 100Mi by default."`
	Visibility  string      `json:"visibility,omitempty" enum:"public,private" doc:"public answers at the gateway under its own name; private only through routes and with a token."`
	Revisions   *Retention  `json:"revisions,omitempty" doc:"How many old revisions are kept."`

	Traffic []TrafficTarget `json:"traffic,omitempty" doc:"Which revisions get which share of the requests; all go to the newest that works by default."`
	Rollout *Rollout        `json:"rollout,omitempty" doc:"How a new revision gets its share; all at once by default."`

	Timeouts *Timeouts `json:"timeouts,omitempty" doc:"Limits besides timeout: for a whole call, for the beginning of its answer and for silence in it."`
}

// Source says where code comes from. Exactly one field is set.
type Source struct {
	Inline  string            `json:"inline,omitempty" doc:"The code itself, as one file."`
	Files   map[string]string `json:"files,omitempty" doc:"Files by path relative to the source folder."`
	Archive *Archive          `json:"archive,omitempty" doc:"A zip or tar (gzip, zstd) archive."`
	Folder  string            `json:"folder,omitempty" doc:"A folder on the machine where hearth runs; only where the server allows it."`
	Image   string            `json:"image,omitempty" doc:"A container image that serves HTTP on $PORT, such as registry.example.com/shop:1.2."`
}

// ServePort is where a program serves. It finds the number in $PORT.
type ServePort struct {
	Number   int    `json:"number,omitempty" min:"1" max:"65535" doc:"8080 by default."`
	Protocol string `json:"protocol,omitempty" enum:"http,h2c" doc:"h2c is HTTP/2 without TLS, as gRPC servers speak it; http by default."`
}

// Archive is packed source code.
type Archive struct {
	URL      string    `json:"url,omitempty" doc:"http(s) address, fetched at build time."`
	Blob     string    `json:"blob,omitempty" doc:"Digest (sha256:…) of an archive uploaded before."`
	Checksum *Checksum `json:"checksum,omitempty" doc:"Needed with url: the archive is refused when it differs."`
}

// Checksum guards an archive.
type Checksum struct {
	Type string `json:"type,omitempty" enum:"sha256"`
	Sum  string `json:"sum" doc:"Hexadecimal sum."`
}

// BuildSpec overrides the runtime's own build.
type BuildSpec struct {
	Command []string  `json:"command,omitempty" doc:"Program run in the source folder; what it leaves there is the artifact."`
	Env     []EnvVar  `json:"env,omitempty" doc:"Environment of the build."`
	Timeout *Duration `json:"timeout,omitempty" doc:"Longest time for the build; 10m by default."`
}

// EnvVar is one environment variable: a value or where to read it from.
type EnvVar struct {
	Name      string    `json:"name"`
	Value     string    `json:"value,omitempty"`
	ValueFrom *ValueRef `json:"valueFrom,omitempty"`
}

// ValueRef points at one key; in a container also at a fact about its instance.
type ValueRef struct {
	SecretKeyRef     *KeyRef           `json:"secretKeyRef,omitempty"`
	ConfigMapKeyRef  *KeyRef           `json:"configMapKeyRef,omitempty"`
	FieldRef         *FieldRef         `json:"fieldRef,omitempty"`
	ResourceFieldRef *ResourceFieldRef `json:"resourceFieldRef,omitempty"`
}

// KeyRef is a key of a Secret or ConfigMap in the same namespace.
type KeyRef struct {
	Name     string `json:"name"`
	Key      string `json:"key"`
	Optional bool   `json:"optional,omitempty" doc:"A missing object or key is no error."`
}

// EnvSource turns all keys of an object into variables.
type EnvSource struct {
	Prefix       string    `json:"prefix,omitempty"`
	SecretRef    *LocalRef `json:"secretRef,omitempty"`
	ConfigMapRef *LocalRef `json:"configMapRef,omitempty"`
}

// LocalRef names an object in the same namespace.
type LocalRef struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional,omitempty"`
}

// Limits bound one instance.
type Limits struct {
	Memory    Quantity `json:"memory,omitempty" doc:"Memory in bytes; 256Mi by default."`
	CPU       Quantity `json:"cpu,omitempty" doc:"Processors, such as 500m; no limit by default."`
	Processes int      `json:"processes,omitempty" min:"0" max:"32768" doc:"Processes and threads; 128 by default."`
	Disk      Quantity `json:"disk,omitempty" doc:"Size of the private /tmp; 64Mi by default."`
}

// Scale bounds the number of instances.
type Scale struct {
	Min  int       `json:"min,omitempty" min:"0" max:"1000" doc:"Instances kept running; 0 by default."`
	Max  int       `json:"max,omitempty" min:"0" max:"1000" doc:"Most instances; 100 by default."`
	Idle *Duration `json:"idle,omitempty" doc:"How long an unused instance is kept. By default that is foreseen from the calls so far, and 2m as long as there are few."`

	Auto *Autoscale `json:"auto,omitempty" doc:"How their number follows the calls."`
}

// Retention bounds old revisions. One is removed when either bound says so;
// those that serve are never removed.
type Retention struct {
	Keep   int       `json:"keep,omitempty" min:"0" max:"1000" doc:"Unused revisions kept; 10 by default."`
	MaxAge *Duration `json:"maxAge,omitempty" doc:"Age after which unused revisions go; 720h by default."`
}

// FunctionStatus is what the reconciler found.
type FunctionStatus struct {
	Conditions          Conditions `json:"conditions,omitempty"`
	ObservedGeneration  int64      `json:"observedGeneration,omitempty" doc:"Generation of the spec this status is about."`
	LatestRevision      string     `json:"latestRevision,omitempty" doc:"Newest revision made from the spec."`
	LatestReadyRevision string     `json:"latestReadyRevision,omitempty" doc:"Newest revision that works; it answers the calls."`
	RevisionCount       int64      `json:"revisionCount,omitempty" doc:"Revisions made so far; numbers the next one."`
	URL                 string     `json:"url,omitempty" doc:"Where the gateway answers for it."`
	Build               *BuildInfo `json:"build,omitempty" doc:"The newest build."`

	Traffic []TrafficShare `json:"traffic,omitempty" doc:"Which revisions get which share now; all go to latestReadyRevision when empty."`
	Rollout *RolloutStatus `json:"rollout,omitempty" doc:"How far the newest rollout is."`
}

// BuildInfo is the outcome of a build.
type BuildInfo struct {
	Phase    string    `json:"phase,omitempty" enum:"Pending,Running,Succeeded,Failed"`
	Started  *Time     `json:"started,omitempty"`
	Duration *Duration `json:"duration,omitempty"`
	Source   string    `json:"source,omitempty" doc:"Digest of what was built."`
	Artifact string    `json:"artifact,omitempty" doc:"Digest of the artifact."`
	Log      string    `json:"log,omitempty" doc:"Digest of the build log."`
	Message  string    `json:"message,omitempty" doc:"Why it failed, with the tool's own words."`
	Rebuild  string    `json:"rebuild,omitempty" doc:"Value of the annotation hearth.run/rebuild it was made for."`
}

// Revision is an immutable version of a function, made by the reconciler. Its
// name is FUNCTION-NUMBER; people write it FUNCTION@NUMBER.
type Revision struct {
	TypeMeta
	Metadata Meta           `json:"metadata"`
	Spec     RevisionSpec   `json:"spec"`
	Status   RevisionStatus `json:"status,omitzero"`
}

// RevisionSpec is all an engine and the gateway must know; it never changes.
type RevisionSpec struct {
	Function    string      `json:"function" doc:"Name of the function in the same namespace."`
	Number      int64       `json:"number" doc:"Counts from 1 within the function."`
	Runtime     string      `json:"runtime"`
	Artifact    string      `json:"artifact" doc:"Digest (sha256:…) of the built tree, a tar in the blob store."`
	Handler     string      `json:"handler,omitempty"`
	Command     []string    `json:"command,omitempty"`
	Env         []EnvVar    `json:"env,omitempty"`
	EnvFrom     []EnvSource `json:"envFrom,omitempty"`
	Secrets     []string    `json:"secrets,omitempty"`
	Config      []string    `json:"config,omitempty"`
	Limits      Limits      `json:"limits,omitzero"`
	Timeout     Duration    `json:"timeout"`
	Concurrency int         `json:"concurrency"`
	Scale       Scale       `json:"scale,omitzero"`
	Network     string      `json:"network,omitempty"`
	Port        *ServePort  `json:"port,omitempty"`
	BodyLimit   int64       `json:"bodyLimit,omitempty" doc:"Bytes."`

	Containers           []Container `json:"containers,omitempty" doc:"Programs run from images, sharing a network and volumes; instead of runtime and artifact."`
	InitContainers       []Container `json:"initContainers,omitempty" doc:"Programs that must end well, one after the other, before the containers start."`
	Volumes              []Volume    `json:"volumes,omitempty"`
	PullSecrets          []LocalRef  `json:"pullSecrets,omitempty"`
	ServiceAccount       string      `json:"serviceAccount,omitempty" doc:"ServiceAccount whose imagePullSecrets are tried after pullSecrets, and whose tokens volumes can hold; default when empty."`
	StartTimeout         *Duration   `json:"startTimeout,omitempty" doc:"Longest time until the containers are ready; 10m by default."`
	ResponseStartTimeout *Duration   `json:"responseStartTimeout,omitempty" doc:"Longest time to the first byte of an answer; no limit of its own by default."`
	IdleTimeout          *Duration   `json:"idleTimeout,omitempty" doc:"Longest time between two writes of an answer; no limit of its own by default."`
	RequestTimeout       *Duration   `json:"requestTimeout,omitempty" doc:"Longest time for a whole call, also for one that streams; no limit besides timeout by default."`
	Owner                string      `json:"owner,omitempty" doc:"Kind and name of the foreign object it was compiled from, such as Configuration/shop; empty for a function's."`
	SpecHash             string      `json:"specHash,omitempty" doc:"Hash of what it was made from; the same hash makes no new revision."`
}

// RevisionStatus is what is known about a revision's instances.
type RevisionStatus struct {
	Conditions Conditions `json:"conditions,omitempty"`
}
