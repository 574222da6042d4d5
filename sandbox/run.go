package sandbox

import (
	"context"
	"io"
	"os"

	"github.com/hearth-run/hearth/core/engine"
)

// Run runs one command to its end, for builds: below a small init, with
// standard output and error going to out as they come. When ctx ends everything
// is killed and ctx.Err() returned beside the exit. Nothing of it runs when Run
// returns, and what the box owned is this process' user's
// again. A command that ends with another status than 0 is no error.
func (h *Host) Run(ctx context.Context, c Config, out io.Writer) (engine.Exit, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return engine.Exit{}, err
	}
	defer r.Close()
	c.Init, c.Hold, c.Stdout, c.Stderr = true, false, w, w
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, r)
		if err != nil {
			io.Copy(io.Discard, r) // a full pipe must not stop the command
		}
		copied <- err
	}()
	b, err := h.Start(ctx, c)
	w.Close()
	if err != nil {
		<-copied
		h.takeBack(c.owned())
		return engine.Exit{}, err
	}
	stop := context.AfterFunc(ctx, b.Kill)
	<-b.Done()
	stop()
	err = <-copied
	h.takeBack(c.owned())
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return b.Exit(), err
}
