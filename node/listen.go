package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/hearth-run/hearth/api"
)

// listen opens a port or says who has it.
func listen(what, flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	_, port, _ := net.SplitHostPort(addr)
	next := "0"
	if n, e := strconv.Atoi(port); e == nil && n > 0 && n < 65535 {
		next = strconv.Itoa(n + 1)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		by := ""
		if who := holder(port); who != "" {
			by = " by " + who
		}
		return nil, api.Errorf(api.CodePortTaken, "cannot start the %s: port %s is used%s", what, port, by).
			WithHint("hearth up %s %s", flag, next).WithCause(err)
	}
	return nil, api.Errorf(api.CodePortTaken, "cannot start the %s on %s: %v", what, addr, err).WithHint("hearth up %s %s", flag, next).WithCause(err)
}

// holder names the process that listens on a TCP port, as far as this user may
// see it: "node, pid 4121". On systems without /proc it is "".
func holder(port string) string {
	n, err := strconv.Atoi(port)
	if err != nil {
		return ""
	}
	inode := ""
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(table)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
				inode = f[9]
			}
		}
	}
	if inode == "" {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == "socket:["+inode+"]" {
			pid := strings.Split(l, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return strings.TrimSpace(string(name)) + ", pid " + pid
		}
	}
	return ""
}
