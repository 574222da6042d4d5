// Package node is the assembly: it turns a configuration into a running set of
// stores, engine, data plane and control plane, and ends it again in order. It
// is the only package that sees all parts, and where their small interfaces are
// plugged into each other; nothing but cli and main imports it.
//
//	config.go    what can be configured
//	lock.go      one hearth per state folder
//	listen.go    ports, checked before anything starts
//	node.go      Up: the parts in order of their needs; Close: in reverse
//	wire.go      the plugs between siblings
//	report.go    what status and doctor say
//	lobby.go     names and calls between instances
package node
