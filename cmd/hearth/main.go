// Command hearth runs functions on your own hardware; see package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hearth-run/hearth/cli"
)

// version is set when a release is linked.
var version = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Run(ctx, os.Args[1:], cli.System(), cli.Env{Vars: cli.Environ(os.Environ()), Version: version}))
}
