// Package cli is the hearth command: verbs, flags, output and errors. Commands
// are clients of the API like any other; only up assembles a server, through
// the Start function of Env.
//
// Run takes everything it touches as values (arguments, streams, environment),
// so that every command can be tested in the test's own process. The contract
// of streams, exit codes and errors is told by `hearth help output` and
// `hearth help exit-codes`.
package cli
