package node

// ballastSize is what the collector is told to see besides the objects in use.
// It begins a collection when as much again has been allocated, so a node with
// few objects would collect many times a second under load. With it there is
// room for this much garbage more, whatever the number of functions.
const ballastSize = 24 << 20

// ballast is memory that is never touched: it has addresses, but no pages. It
// must stay referenced.
func ballast() []byte { return make([]byte, ballastSize) }
