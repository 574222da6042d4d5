package engine

import "time"

// Measured is an Instance that can tell what it uses. Not all can: callers ask
// with a type assertion, and where there is no Measured or it has an error they
// do without.
type Measured interface {
	// Usage says what the instance uses now: all processes of all its containers
	// together. It reads a few small files and does not wait for the instance, so
	// asking each second is fine. It fails with api.CodeNotFound when the instance
	// has ended, and with api.CodeUnsupported where the host does not tell.
	Usage() (Usage, error)
}

// Usage is what an instance uses.
type Usage struct {
	// CPU is the processor time it has had in all: what the difference of two
	// answers divided by the time between them says is how many processors it
	// keeps busy. It never falls. Time from before the instance had its code may
	// be in it. Where the kernel keeps no account it moves in steps of 10 ms.
	CPU time.Duration
	// MemoryBytes is the working set: what it holds, files in memory too, without
	// pages of files that were not used lately. Where the kernel keeps no account,
	// pages that several processes share count for each of them.
	MemoryBytes int64
	Processes   int
}
