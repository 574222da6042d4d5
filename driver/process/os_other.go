//go:build !linux

package process

// renice does nothing here: a process' threads cannot be told apart, and
// background starts have normal priority.
func renice(int, int) {}

// machineMemory is an assumption: the portable interfaces do not tell.
func machineMemory() int64 { return 8 << 30 }
