// Package sandbox runs processes that see little and can do little: on Linux by
// clone flags, a root of their own, an own user, a system call filter and
// cgroups, without external tools.
//
// A Host holds what the boxes of one state folder share (users, cgroups, the
// private network) and starts them. A Box is one sandbox and the processes in
// it; it ends with its first process. The binary that uses this package starts
// itself again as "sandbox-init" between clone and exec, so its main function has
// to call Main first.
//
// By default a box sees the host's system folders, read-only. With a Root it has
// a file system of its own instead, made of the layers of an image, and users that
// are nobody on the host; such boxes are made in the network of a Shared, which
// several of them can have in common.
//
// What a box is made of is pure data, a Plan; PLAN.md specifies it, because
// zygotes written in other languages execute plans too.
//
// On systems other than Linux boxes are plain process groups; Findings says so.
// Package driver/process decides what to run; this one knows no functions.
package sandbox

import (
	"log/slog"
	"os"

	"github.com/hearth-run/hearth/core/engine"
)

// Networks a box can have.
const (
	NetworkHost    = "host"    // the host's own; the default
	NetworkPrivate = "private" // own namespace, with a way out by address translation
	NetworkNone    = "none"    // own namespace with nothing but loopback
)

// Options say how a Host works.
type Options struct {
	// State is the folder this host keeps its run files in, below "sandbox"; its path names the
	// cgroups, interfaces and tables, so that a later Open of the same folder
	// finds and removes what a killed process left behind. Two hosts must not
	// have the same folder at the same time.
	State string
	// Log takes what goes wrong in the background; nil means slog.Default.
	Log *slog.Logger
	// Self is the command line that reaches Main as "sandbox-init"; a
	// descriptor number is appended. Default: /proc/self/exe sandbox-init.
	Self []string
	// UIDBase is the first user id boxes get; the next 65 536 belong to this
	// host. Default 200000.
	UIDBase int
	// RangeBase is the first user id of the ranges boxes with a root of their own
	// get: 65 536 for each Shared, 8192 of them. Default 1<<30.
	RangeBase int
	// Subnet is the IPv4 network private boxes get addresses from, as
	// "10.213.0.0/16". Default: the first of a few that no route of the host touches.
	Subnet string
	// Without lists checks (names as in Findings) that are treated as missing on
	// this host, to see what is done instead.
	Without []string
}

// Bind shows a folder or file of the host inside a box. Device files and
// set-user-id bits do not work in it.
type Bind struct {
	Source string // absolute path on the host
	Target string // absolute path inside; empty: the same as Source
	Write  bool
	// Own gives the source, with all in it, to the box's user while the box
	// runs; Run takes it back when it is over. For folders a build writes.
	Own bool
}

// Config describes a box. Empty values are allowed but for Args (unless Hold).
type Config struct {
	// ID names the box: its host name and its cgroup. Letters, digits, "-", "_"
	// and "."; unique on its host. Empty: one is made.
	ID   string
	Args []string // program (looked up in the box's PATH) and arguments
	Env  []string // the whole environment; HOME=/tmp and a PATH are added when missing
	Dir  string   // working folder inside; default "/"

	Binds   []Bind
	Network string // NetworkHost, NetworkPrivate, NetworkNone; default host
	// Limits: 0 means no limit of memory and processor, 1024 processes, and
	// 256 MiB of /tmp (which counts as memory while it is used). With a Root,
	// what is written goes to the disk without a bound: see Box.Disk.
	Limits engine.Limits
	// Files become descriptors 3, 4, … inside. The caller keeps its copies.
	Files []*os.File
	// Stdout and Stderr are the box's; nil means /dev/null. Standard input is
	// always /dev/null. The caller keeps its copies.
	Stdout, Stderr *os.File

	// Nice is the priority the box starts with, from 0 to 19, so that starts
	// nobody waits for disturb nobody. Ignored where hearth is not root, which
	// could not take it back, and for what a zygote forks.
	Nice int
	// Init keeps a small first process that forwards signals and reaps
	// orphans, for programs that are not made to be process 1.
	Init bool
	// Hold prepares everything and waits; Box.Exec goes on.
	Hold bool
	// Zygote leaves root and the capabilities a zygote needs to sandbox what
	// it forks (PLAN.md). Only trusted code may run in such a box.
	Zygote bool
	// Shared is what the box has in common with others; its network is used
	// instead of Network. With Hold and without Root, Box.Enter goes on.
	Shared *Shared
	// Root is the box's own root file system; Binds, Files of /etc, WriteDir
	// and Zygote mean nothing then, and HOME and PATH are not added to Env:
	// HOME is the user's of /etc/passwd when missing.
	Root *Root
	// WriteDir is a host folder bound read-write at /code, for builds, like a
	// Bind with Write and Own.
	WriteDir string
}

// owned lists the folders that belong to the box's user while it runs.
func (c Config) owned() []string {
	var out []string
	if c.WriteDir != "" {
		out = append(out, c.WriteDir)
	}
	for _, b := range c.Binds {
		if b.Own {
			out = append(out, b.Source)
		}
	}
	return out
}

// Folders exist in every box, empty, to be filled by Config.Binds or Attach.
func Folders() []string {
	return []string{"/code", "/userfunc", "/runtime", "/secrets", "/configs"}
}
