// Package process is the engine that runs instances as sandboxed processes on
// this machine: it keeps pools of warm instances without user code and
// specialises one when a revision needs an instance.
//
// What a start is made of, outermost first:
//
//	engine    Start: artifact, then a warm instance from a pool, then its code
//	pool      warm instances of one runtime; refilled ahead of demand
//	loading   how a runtime starts without code and is given it: loader (framed
//	          protocol), environment (Fission's contract), program (exec)
//	sandbox   the process itself, its view of the machine and its limits
//
// Package sandbox is below it; package runtime has the loaders; the gateway
// speaks to the instance by Dial. On systems without Linux's mechanisms the same
// code runs plain processes and Findings says what is missing.
package process
