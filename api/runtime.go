package api

// Loader protocols: how code gets into an instance and calls reach it.
const (
	// ProtocolHearth is the framed protocol of runtime/PROTOCOL.md.
	ProtocolHearth = "hearth"
	// ProtocolHTTP is any program that serves HTTP on $PORT.
	ProtocolHTTP = "http"
	// ProtocolH2C is HTTP/2 without TLS, spoken without asking first.
	ProtocolH2C = "h2c"
	// ProtocolFissionV1 to V3 are Fission's environment contract.
	ProtocolFissionV1 = "fission/v1"
	ProtocolFissionV2 = "fission/v2"
	ProtocolFissionV3 = "fission/v3"
)

// Names of the built-in runtimes; they exist in every namespace.
const (
	RuntimeNode    = "node"
	RuntimePython  = "python"
	RuntimeGo      = "go"
	RuntimeCommand = "command"
	// RuntimeStatic serves the files of a folder.
	RuntimeStatic = "static"
	// RuntimeImage runs programs from container images.
	RuntimeImage = "image"
)

// Folders of an artifact, relative to its top, that builds install packages into.
const (
	PythonPackages = ".hearth/python" // on sys.path in instances
	RubyPackages   = ".hearth/ruby"   // Bundler's path in instances
)

// Runtime says how code of a language is loaded (Fission: environment). The
// built-in ones need no object; an object of the same name overrides the pool
// settings of a built-in.
type Runtime struct {
	TypeMeta
	Metadata Meta          `json:"metadata"`
	Spec     RuntimeSpec   `json:"spec"`
	Status   RuntimeStatus `json:"status,omitzero"`
}

// RuntimeSpec is what its author wants.
type RuntimeSpec struct {
	Base         string     `json:"base,omitempty" enum:"node,python,go,command,static" doc:"Built-in runtime this one starts from; its command and protocol are used where these are empty."`
	Command      []string   `json:"command,omitempty" doc:"Program that starts an instance without user code."`
	Folder       string     `json:"folder,omitempty" doc:"Folder of the host shown read-only at /runtime; relative commands start there."`
	Protocol     string     `json:"protocol,omitempty" enum:"hearth,http,fission/v1,fission/v2,fission/v3" doc:"How code is loaded and called."`
	Port         int        `json:"port,omitempty" min:"1" max:"65535" doc:"Port the program listens on; 8888 for fission, $PORT for http."`
	Network      string     `json:"network,omitempty" enum:"host,private,none" doc:"Network of its instances; private where the port is fixed."`
	Env          []EnvVar   `json:"env,omitempty" doc:"Environment of every instance."`
	Pool         *PoolSpec  `json:"pool,omitempty" doc:"Warm instances without user code."`
	Build        *BuildSpec `json:"build,omitempty" doc:"Builder: turns source into an artifact (Fission: SRC_PKG, DEPLOY_PKG)."`
	StartTimeout *Duration  `json:"startTimeout,omitempty" doc:"Longest time to start an instance and load code; 120s by default."`
}

// PoolSpec bounds a pool.
type PoolSpec struct {
	Size *int `json:"size,omitempty" min:"0" max:"500" doc:"Warm instances kept at least; 0 switches the pool off."`
	Max  *int `json:"max,omitempty" min:"0" max:"500" doc:"Most warm instances, however high the arrival rate."`
}

// RuntimeStatus is what was found on the host.
type RuntimeStatus struct {
	Conditions         Conditions `json:"conditions,omitempty"`
	ObservedGeneration int64      `json:"observedGeneration,omitempty"`
	Version            string     `json:"version,omitempty" doc:"Version the interpreter gave."`
}
