// Command tool looks at the world it runs in, for the tests of roots: its
// arguments are steps, separated by "--", and each prints one line.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	step := []string{}
	for _, a := range append(os.Args[1:], "--") {
		if a != "--" {
			step = append(step, a)
			continue
		}
		if len(step) > 0 {
			fmt.Println(do(step[0], append(step[1:], "", "")))
		}
		step = nil
	}
}

func do(what string, args []string) string {
	say := func(v any, err error) string {
		if err != nil {
			return what + ": " + err.Error()
		}
		return strings.TrimSpace(fmt.Sprint(v))
	}
	switch what {
	case "id":
		g, err := os.Getgroups()
		return say(fmt.Sprint(os.Getuid(), os.Getgid(), g), err)
	case "status": // a line of /proc/self/status
		b, err := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, args[0]+":"); ok {
				return strings.TrimSpace(v)
			}
		}
		return say("", err)
	case "env":
		return os.Getenv(args[0])
	case "pwd":
		return say(os.Getwd())
	case "hostname":
		return say(os.Hostname())
	case "cat":
		b, err := os.ReadFile(args[0])
		return say(string(b), err)
	case "ls":
		var names []string
		list, err := os.ReadDir(args[0])
		for _, e := range list {
			names = append(names, e.Name())
		}
		return say(strings.Join(names, " "), err)
	case "stat":
		var st syscall.Stat_t
		err := syscall.Lstat(args[0], &st)
		return say(fmt.Sprintf("%o %d:%d", st.Mode&0o7777, st.Uid, st.Gid), err)
	case "write":
		return say("written", os.WriteFile(args[0], []byte(args[1]), 0o644))
	case "fill": // writes args[1] bytes
		n, _ := strconv.Atoi(args[1])
		return say("filled", os.WriteFile(args[0], make([]byte, n), 0o644))
	case "remove":
		return say("removed", os.RemoveAll(args[0]))
	case "mkdir":
		return say("made", os.Mkdir(args[0], 0o755))
	case "chown":
		return say("chowned", os.Chown(args[0], 7, 8))
	case "mount":
		return say("mounted", syscall.Mount("none", "/tmp", "tmpfs", 0, ""))
	case "mknod":
		return say("made", syscall.Mknod("/tmp/sda", syscall.S_IFBLK|0o600, 8<<8))
	case "open":
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return say("opened", err)
	case "program": // whether that of a process could be written to, once it has ended
		f, err := os.Open(args[0])
		if err != nil {
			return say("", err)
		}
		var st syscall.Statfs_t
		err = syscall.Fstatfs(int(f.Fd()), &st)
		return say(st.Flags&1 != 0, err) // ST_RDONLY
	case "listen":
		l, err := net.Listen("tcp", args[0])
		if err == nil {
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					fmt.Fprintln(c, "hello from", os.Args[0])
					c.Close()
				}
			}()
		}
		return say("listening", err)
	case "dial":
		c, err := net.DialTimeout("tcp", args[0], time.Second)
		if err != nil {
			return say("", err)
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		return say(string(b[:n]), err)
	case "wait":
		time.Sleep(time.Hour)
	}
	return "no such step: " + what
}
