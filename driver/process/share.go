package process

import "github.com/hearth-run/hearth/sandbox"

// Host is what the engine makes its boxes with, for others that run programs on
// this machine; it ends with the engine.
func (e *Engine) Host() *sandbox.Host { return e.host }
