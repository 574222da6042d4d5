package sandbox

import (
	"slices"
	"strconv"
	"strings"
)

// listening reads the ports in state LISTEN from the text of /proc/net/tcp.
func listening(table string) []int {
	var ports []int
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "0A" {
			continue
		}
		_, hex, ok := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(hex, 16, 16)
		if ok && err == nil && !slices.Contains(ports, int(n)) {
			ports = append(ports, int(n))
		}
	}
	slices.Sort(ports)
	return ports
}
