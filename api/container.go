package api

// Container is one program of a revision, run from an image. Its fields have the
// names and the meaning Kubernetes gives them.
type Container struct {
	Name            string           `json:"name,omitempty"`
	Image           string           `json:"image" doc:"Reference of the image; in a revision with its digest."`
	ImagePullPolicy string           `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	Command         []string         `json:"command,omitempty" doc:"Instead of the image's entrypoint; $(NAME) stands for a variable."`
	Args            []string         `json:"args,omitempty" doc:"Instead of the image's arguments; $(NAME) stands for a variable."`
	WorkingDir      string           `json:"workingDir,omitempty"`
	Env             []EnvVar         `json:"env,omitempty"`
	EnvFrom         []EnvSource      `json:"envFrom,omitempty"`
	Ports           []ContainerPort  `json:"ports,omitempty" doc:"The port that serves; of all containers of a revision one has it."`
	Resources       Resources        `json:"resources,omitzero"`
	VolumeMounts    []VolumeMount    `json:"volumeMounts,omitempty"`
	StartupProbe    *Probe           `json:"startupProbe,omitempty"`
	ReadinessProbe  *Probe           `json:"readinessProbe,omitempty"`
	LivenessProbe   *Probe           `json:"livenessProbe,omitempty"`
	SecurityContext *SecurityContext `json:"securityContext,omitempty"`

	TerminationMessagePath   string `json:"terminationMessagePath,omitempty"`
	TerminationMessagePolicy string `json:"terminationMessagePolicy,omitempty" enum:"File,FallbackToLogsOnError"`
}

// Names of the port of a container.
const (
	PortHTTP1 = "http1"
	PortH2C   = "h2c"
)

// ContainerPort is where a container serves.
type ContainerPort struct {
	Name          string `json:"name,omitempty" doc:"http1 or h2c; http1 when empty."`
	ContainerPort int    `json:"containerPort,omitempty" min:"0" max:"65535" doc:"8080 when empty; the program finds it in $PORT."`
	Protocol      string `json:"protocol,omitempty" enum:"TCP"`
}

// Resources are what a container asks for and may use: cpu, memory,
// ephemeral-storage.
type Resources struct {
	Limits   map[string]Quantity `json:"limits,omitempty"`
	Requests map[string]Quantity `json:"requests,omitempty"`
}

// VolumeMount shows a volume inside a container.
type VolumeMount struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
	SubPath   string `json:"subPath,omitempty"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
}

// Volume is a folder the containers of an instance share. Exactly one of its
// sources is set.
type Volume struct {
	Name      string           `json:"name"`
	Secret    *SecretVolume    `json:"secret,omitempty"`
	ConfigMap *ConfigMapVolume `json:"configMap,omitempty"`
	Projected *ProjectedVolume `json:"projected,omitempty"`
	EmptyDir  *EmptyDirVolume  `json:"emptyDir,omitempty"`
}

// SecretVolume shows a Secret's keys as files.
type SecretVolume struct {
	SecretName  string      `json:"secretName,omitempty"`
	Items       []KeyToPath `json:"items,omitempty"`
	DefaultMode *int        `json:"defaultMode,omitempty" min:"0" max:"511"`
	Optional    *bool       `json:"optional,omitempty"`
}

// ConfigMapVolume shows a ConfigMap's keys as files.
type ConfigMapVolume struct {
	Name        string      `json:"name,omitempty"`
	Items       []KeyToPath `json:"items,omitempty"`
	DefaultMode *int        `json:"defaultMode,omitempty" min:"0" max:"511"`
	Optional    *bool       `json:"optional,omitempty"`
}

// KeyToPath shows one key under a path of its own.
type KeyToPath struct {
	Key  string `json:"key"`
	Path string `json:"path"`
	Mode *int   `json:"mode,omitempty" min:"0" max:"511"`
}

// ProjectedVolume joins several sources in one folder.
type ProjectedVolume struct {
	Sources     []VolumeProjection `json:"sources,omitempty"`
	DefaultMode *int               `json:"defaultMode,omitempty" min:"0" max:"511"`
}

// VolumeProjection is one source of a projected volume.
type VolumeProjection struct {
	Secret              *Projection          `json:"secret,omitempty"`
	ConfigMap           *Projection          `json:"configMap,omitempty"`
	DownwardAPI         *DownwardAPI         `json:"downwardAPI,omitempty"`
	ServiceAccountToken *ServiceAccountToken `json:"serviceAccountToken,omitempty"`
}

// Projection is a Secret or ConfigMap within a projected volume.
type Projection struct {
	Name     string      `json:"name,omitempty"`
	Items    []KeyToPath `json:"items,omitempty"`
	Optional *bool       `json:"optional,omitempty"`
}

// EmptyDirVolume is an empty writable folder that lives as long as the instance.
type EmptyDirVolume struct {
	Medium    string   `json:"medium,omitempty" enum:",Memory"`
	SizeLimit Quantity `json:"sizeLimit,omitempty"`
}

// Probe asks whether a container is started, ready or alive. One of its
// handlers is set; times are in seconds.
type Probe struct {
	HTTPGet   *HTTPGet   `json:"httpGet,omitempty"`
	TCPSocket *TCPSocket `json:"tcpSocket,omitempty"`
	Exec      *Exec      `json:"exec,omitempty"`
	GRPC      *GRPCProbe `json:"grpc,omitempty"`

	InitialDelaySeconds int  `json:"initialDelaySeconds,omitempty" min:"0"`
	TimeoutSeconds      int  `json:"timeoutSeconds,omitempty" min:"0"`
	PeriodSeconds       *int `json:"periodSeconds,omitempty" min:"0" doc:"0 for readiness: as often as is useful until it succeeds."`
	SuccessThreshold    int  `json:"successThreshold,omitempty" min:"0"`
	FailureThreshold    int  `json:"failureThreshold,omitempty" min:"0"`

	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty" min:"1" doc:"Of liveness: time to end after SIGTERM; the revision's timeout when empty."`
}

// HTTPGet succeeds on a status from 200 to 399.
type HTTPGet struct {
	Path        string       `json:"path,omitempty"`
	Port        IntOrName    `json:"port,omitempty" doc:"Number, or name of the container's port; the serving port when empty."`
	Host        string       `json:"host,omitempty"`
	Scheme      string       `json:"scheme,omitempty" enum:"HTTP,HTTPS"`
	HTTPHeaders []HTTPHeader `json:"httpHeaders,omitempty"`
}

// HTTPHeader is a field sent with a probe.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPSocket succeeds when the port accepts a connection.
type TCPSocket struct {
	Port IntOrName `json:"port,omitempty"`
	Host string    `json:"host,omitempty"`
}

// Exec succeeds when the command, run in the container, ends with status 0.
type Exec struct {
	Command []string `json:"command,omitempty"`
}

// GRPCProbe asks the standard gRPC health service.
type GRPCProbe struct {
	Port    int     `json:"port,omitempty" min:"0" max:"65535"`
	Service *string `json:"service,omitempty"`
}

// SecurityContext is who a container runs as and what it may do.
type SecurityContext struct {
	RunAsUser                *int64          `json:"runAsUser,omitempty"`
	RunAsGroup               *int64          `json:"runAsGroup,omitempty"`
	RunAsNonRoot             *bool           `json:"runAsNonRoot,omitempty"`
	ReadOnlyRootFilesystem   *bool           `json:"readOnlyRootFilesystem,omitempty"`
	AllowPrivilegeEscalation *bool           `json:"allowPrivilegeEscalation,omitempty"`
	Privileged               *bool           `json:"privileged,omitempty"`
	Capabilities             *Capabilities   `json:"capabilities,omitempty"`
	SeccompProfile           *SeccompProfile `json:"seccompProfile,omitempty"`
}

// Capabilities are Linux capabilities added and dropped; ALL stands for all.
type Capabilities struct {
	Add  []string `json:"add,omitempty"`
	Drop []string `json:"drop,omitempty"`
}

// SeccompProfile names a filter of system calls.
type SeccompProfile struct {
	Type             string `json:"type" enum:"RuntimeDefault,Localhost,Unconfined"`
	LocalhostProfile string `json:"localhostProfile,omitempty"`
}
