package node

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/core/engine"
)

// machine is what there is for instances without limits: the processors, the
// memory, and the disk state is on.
func machine(state string) engine.Limits {
	l := engine.Limits{CPUMilli: int64(runtime.NumCPU()) * 1000}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		total, _ := memory(data)
		l.MemoryBytes = total << 10
	}
	var fs unix.Statfs_t
	if unix.Statfs(state, &fs) == nil {
		l.DiskBytes = int64(fs.Blocks) * fs.Bsize
	}
	return l
}
