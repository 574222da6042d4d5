// Package engine is the contract for running instances of a revision: prepare,
// start, call, stop, and what became of them.
//
// An engine keeps pools of warm instances without user code and specialises one
// when a revision needs an instance; callers see only Start. Engines hold soft
// state: whatever they run can be killed and started again. Package enginetest
// holds the conformance suite; the memory driver is the specification.
package engine

import (
	"context"
	"net"
	"time"
)

// Engine runs instances. All methods are safe for concurrent use.
type Engine interface {
	// Prepare does everything slow that Start would otherwise wait for:
	// fetching and unpacking the artifact, finding the interpreter, filling the
	// pool. It is idempotent. Start works without it, only slower.
	Prepare(ctx context.Context, s Spec) error

	// Start runs an instance and returns when it can answer calls. The errors
	// are api.CodeLoadFailed with the language's own traceback in Detail when
	// user code does not load, api.CodeStartFailed when the instance does not
	// come up, api.CodeNoRuntime when the interpreter is missing. When ctx ends
	// first the instance is removed and ctx.Err() returned.
	Start(ctx context.Context, s Spec) (Instance, error)

	// Forget drops what Prepare keeps for an artifact no revision uses.
	Forget(ctx context.Context, artifact string) error

	// Findings says what the host allows and what it does not.
	Findings() []Finding

	// Close stops every instance and pool and releases what the engine holds.
	// It returns when the last process is gone, or when ctx ends.
	Close(ctx context.Context) error
}

// Instance is one running copy of a revision. It belongs to its revision until
// it ends and is never handed to another. More that some instances can do is
// asked for by type assertion: Measured, Probed.
type Instance interface {
	// ID names the instance; it is unique over the life of the state folder.
	ID() string

	// Protocol is how Dial's connections are spoken: api.ProtocolHearth
	// (frames, package runtime/frame), api.ProtocolHTTP (HTTP/1.1; also what
	// Fission's environments serve once they are specialised) or
	// api.ProtocolH2C (HTTP/2 with prior knowledge).
	Protocol() string

	// Dial opens a connection to the instance. The caller closes it.
	Dial(ctx context.Context) (net.Conn, error)

	// Done is closed when the instance has ended.
	Done() <-chan struct{}

	// Exit says how it ended; valid once Done is closed.
	Exit() Exit

	// Stop asks the instance to end and kills it when ctx ends or the engine's
	// grace is over, whichever is first. It returns when nothing of it is left.
	// Stopping twice is no error.
	Stop(ctx context.Context) error
}

// Spec is all an engine needs to run an instance. It is immutable once passed.
type Spec struct {
	Tenant   string
	Function string
	Revision string // name of the revision: FUNCTION-NUMBER

	Runtime  Runtime
	Artifact string // digest in the blob store of the built tree (a tar)
	Handler  string
	Command  []string          // command runtime: program and arguments
	Env      map[string]string // resolved: secrets and config are in it
	Files    []File            // secrets and config shown as files

	Limits      Limits
	Network     string // host, private, none; empty: what suits the runtime
	Port        int    // where a program serves; 0: the engine chooses
	H2C         bool   // a program serves HTTP/2 without TLS
	Concurrency int
	Timeout     time.Duration
	// Pod is set for revisions that run from images; Runtime, Artifact, Handler
	// and Command are then empty.
	Pod *Pod
	// Metadata is passed to loaders that ask for it (Fission: FunctionMetadata).
	Metadata map[string]any
}

// Runtime is a resolved runtime: a built-in one, or a Runtime object.
type Runtime struct {
	Name      string // pool key together with the tenant where Shared is false
	Shared    bool   // a built-in: its pool serves all tenants
	Base      string // built-in it stands on: node, python, go, command; or empty
	Protocol  string // api.ProtocolHearth, …
	Command   []string
	Folder    string // host folder shown read-only at /runtime; empty: none
	Port      int
	Env       map[string]string
	PoolSize  int           // least warm instances; -1: the engine decides
	PoolMax   int           // most warm instances; 0: the engine decides
	StartTime time.Duration // longest time to start and load; 0: 120 s
}

// File is a file made visible inside the instance, read-only, in memory only.
type File struct {
	Path string // absolute, below /secrets or /configs
	Data []byte
}

// Limits bound an instance; 0 means the engine's default.
type Limits struct {
	MemoryBytes int64
	CPUMilli    int64 // thousandths of a processor; 0: no limit
	Processes   int
	DiskBytes   int64 // of the private /tmp
}

// Exit says how an instance ended.
type Exit struct {
	Code   int    // exit status; -1 when a signal ended it
	Signal string // such as SIGKILL; empty
	OOM    bool   // the memory limit ended it
	Reason string // a sentence: "stopped", "killed: out of memory (limit 128Mi)", "exited with status 1"
	At     time.Time
}

// Finding is one check of the host, shown by hearth doctor and kept in the
// instance's condition Isolated.
type Finding struct {
	Check  string // "cgroup memory", "landlock", "private network"
	OK     bool
	Detail string // what was found and what is done instead
	Fix    string // command or fact that mends it; empty when OK
}

// Line is one line an instance wrote.
type Line struct {
	Time     time.Time `json:"time"`
	Tenant   string    `json:"tenant"`
	Function string    `json:"function"`
	Revision string    `json:"revision"`
	Instance string    `json:"instance"`
	Request  string    `json:"request,omitempty"` // id of the call it belongs to, where known
	Stream   string    `json:"stream"`            // stdout or stderr
	Text     string    `json:"text"`              // without the line end; at most 16 KiB, the rest is cut
}

// Sink takes lines. It must not block and may be called concurrently; drivers
// get one from node.
type Sink func(Line)
