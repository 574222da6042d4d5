// Command hearth runs functions on your own hardware; see package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hearth-run/hearth/cli"
	"github.com/hearth-run/hearth/runtime/static"
	"github.com/hearth-run/hearth/sandbox"
)

// version is set when a release is linked.
var version = "0.1.0-dev"

func main() {
	if sandbox.Main(os.Args) || static.Main(os.Args) { // this process is an instance, or its first stage
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Run(ctx, os.Args[1:], cli.System(), cli.Env{Vars: cli.Environ(os.Environ()), Version: version, Start: cli.StartNode}))
}
