package process

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// renice sets the priority of every thread of pid. Raising it again needs root;
// elsewhere background starts keep their low priority, which only matters under
// load.
func renice(pid, nice int) {
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			unix.Setpriority(unix.PRIO_PROCESS, tid, nice)
		}
	}
}

// machineMemory is the machine's memory in bytes.
func machineMemory() int64 {
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) != nil {
		return 4 << 30
	}
	return int64(i.Totalram) * int64(i.Unit)
}
