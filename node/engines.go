package node

import (
	"context"
	"errors"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// engines runs each revision where it belongs: those made of images in
// containers, all others as processes. containers may be nil.
type engines struct{ processes, containers engine.Engine }

var _ engine.Engine = engines{}

func (e engines) of(s engine.Spec) (engine.Engine, error) {
	switch {
	case s.Pod == nil:
		return e.processes, nil
	case e.containers == nil:
		return nil, api.Errorf(api.CodeUnsupported, "container images cannot be run on this host").WithHint("hearth doctor says what this host can do")
	}
	return e.containers, nil
}

// Prepare implements engine.Engine.
func (e engines) Prepare(ctx context.Context, s engine.Spec) error {
	of, err := e.of(s)
	if err != nil {
		return err
	}
	return of.Prepare(ctx, s)
}

// Start implements engine.Engine.
func (e engines) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	of, err := e.of(s)
	if err != nil {
		return nil, err
	}
	return of.Start(ctx, s)
}

// Forget implements engine.Engine. Images have names, built trees digests alone.
func (e engines) Forget(ctx context.Context, artifact string) error {
	if strings.Contains(artifact, "@") && e.containers != nil {
		return e.containers.Forget(ctx, artifact)
	}
	return e.processes.Forget(ctx, artifact)
}

// Findings implements engine.Engine.
func (e engines) Findings() []engine.Finding {
	out := e.processes.Findings()
	if e.containers == nil {
		return out
	}
	known := map[string]bool{}
	for _, f := range out {
		known[f.Check] = true
	}
	for _, f := range e.containers.Findings() {
		if !known[f.Check] {
			out = append(out, f)
		}
	}
	return out
}

// Close implements engine.Engine.
func (e engines) Close(ctx context.Context) error {
	err := e.processes.Close(ctx)
	if e.containers != nil {
		err = errors.Join(err, e.containers.Close(ctx))
	}
	return err
}
