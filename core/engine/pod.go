package engine

import (
	"context"
	"time"
)

// Pod is what an instance made of container images runs: the containers share
// network, volumes and end; the init containers run before them, one by one, and
// must end with status 0.
type Pod struct {
	Containers []Container
	Init       []Container
	Volumes    []Volume
	Port       int           // the serving container's port; what it finds in $PORT
	Serving    int           // index of the serving container
	Protocol   string        // api.ProtocolHTTP or api.ProtocolH2C
	Pull       [][]byte      // docker config JSON documents with registry credentials, tried in order
	Progress   time.Duration // longest time until the first start is ready; 0: 10 minutes
	Grace      time.Duration // between SIGTERM and SIGKILL; 0: the engine's
}

// Stand-ins are for what is known only when an instance starts. They may be
// anywhere in Command, Args and the values of Env, and in the Data of files that
// are Late; the engine puts the fact in their place.
const (
	StandInName     = "\x00name\x00"     // the instance's ID
	StandInUID      = "\x00uid\x00"      // a UUID of its own
	StandInIP       = "\x00ip\x00"       // its address
	StandInHostIP   = "\x00hostip\x00"   // where it reaches the host
	StandInHostName = "\x00hostname\x00" // the host's name
)

// Container is one program of a pod. Empty fields mean the image's own.
type Container struct {
	Name         string
	Image        string // reference with digest
	Command      []string
	Args         []string
	Dir          string
	Env          map[string]string // resolved; $PORT and what the contract asks for are in it
	Mounts       []Mount
	Limits       Limits
	User         *int64
	Group        *int64
	NonRoot      bool // refuse to run as user 0
	ReadOnlyRoot bool
	AddCaps      []string
	DropCaps     []string
	Startup      *Probe
	Readiness    *Probe // nil: TCP connect to the serving port; other containers: none
	Liveness     *Probe
}

// Volume is a folder containers share: files given here, or an empty one.
type Volume struct {
	Name  string
	Files []VolumeFile // nil with Empty
	// Renew makes more files, for a volume that is not Empty: when an instance
	// starts and, while it runs, again when the time it returned has come; zero is
	// never. Each file takes the place of the one of its path at once. What fails
	// while the instance runs is tried again.
	Renew  func(context.Context) (files []VolumeFile, again time.Time, err error) `json:"-"`
	Empty  bool
	Memory bool  // keep it in memory
	Size   int64 // bytes; 0: no limit of its own
}

// VolumeFile is a file of a volume.
type VolumeFile struct {
	Path string // relative to the volume
	Data []byte
	Mode uint32 // permission bits; 0: 0644
	Late bool   // Data has stand-ins
}

// Mount shows a volume in a container.
type Mount struct {
	Volume  string
	Path    string // absolute, inside
	SubPath string
	Write   bool
}

// Probe asks a container something; exactly one of HTTP, TCP, Exec and GRPC is
// set.
type Probe struct {
	HTTP *HTTPProbe
	TCP  *int // port
	Exec []string
	GRPC *GRPCProbe

	Delay time.Duration // before the first question
	// Period is the time between questions. 0 for readiness: as often as is
	// useful until it succeeds, and not again.
	Period  time.Duration
	Timeout time.Duration // for an answer; 0: 1 s
	Success int           // answers in a row that count as one; 0: 1
	Failure int           // failures in a row that count as one; 0: 3
	Grace   time.Duration // of liveness: between SIGTERM and SIGKILL; 0: the pod's
}

// HTTPProbe succeeds on a status from 200 to 399.
type HTTPProbe struct {
	Port   int
	Path   string
	Host   string // of the Host header; empty: the instance's
	TLS    bool
	Header [][2]string
}

// GRPCProbe asks grpc.health.v1.Health/Check.
type GRPCProbe struct {
	Port    int
	Service string
}
