// Package runtime is what runs inside an instance beside user code, and how the
// host finds the interpreters for it: the embedded loaders of the built-in
// runtimes (Files), their commands (Builtins), interpreter discovery (Find) and
// language detection (Detect).
//
// Loaders speak the protocol of PROTOCOL.md; package runtime/frame is the
// host's side of it. Building source into an artifact is control/build's work,
// starting and sandboxing instances driver/process'.
package runtime

import (
	"embed"
	"io/fs"
)

//go:embed node/*.cjs node/*.js node/*.mjs python/*.py PROTOCOL.md
var files embed.FS

// Files returns the loaders, as node/loader.cjs, python/loader.py and what they
// load. Write puts them into a folder that instances see read-only and that is
// passed to Builtin.Command.
func Files() fs.FS { return files }
