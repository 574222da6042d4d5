//go:build !linux

package node

import (
	"runtime"

	"github.com/hearth-run/hearth/core/engine"
)

// machine is what is known here of what there is for instances without limits.
func machine(string) engine.Limits { return engine.Limits{CPUMilli: int64(runtime.NumCPU()) * 1000} }
