package node

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
)

// memoryShort reports whether less than a tenth of the machine's memory is left.
// Unused instances are then worth less than room for others.
func memoryShort() bool {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return false
	}
	total, left := memory(data)
	return total > 0 && left < total/10
}

// memory reads the KiB there are in all and that are available.
func memory(meminfo []byte) (total, left int64) {
	for s := bufio.NewScanner(bytes.NewReader(meminfo)); s.Scan(); {
		f := bytes.Fields(s.Bytes())
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseInt(string(f[1]), 10, 64)
		if err != nil {
			continue
		}
		switch string(f[0]) {
		case "MemTotal:":
			total = n
		case "MemAvailable:":
			return total, n
		}
	}
	return 0, 0 // a kernel that does not say
}
