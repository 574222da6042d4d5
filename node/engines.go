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
type engines struct {
	processes, containers engine.Engine
	missing               *api.Error // why containers is nil
}

var _ engine.Engine = engines{}

func (x engines) of(s engine.Spec) (engine.Engine, error) {
	switch {
	case s.Pod == nil:
		return x.processes, nil
	case x.containers == nil:
		e := api.Errorf(api.CodeUnsupported, "container images cannot be run on this host").WithHint("hearth doctor says what this host can do")
		if m := x.missing; m != nil {
			e.Message += ": " + m.Message
		}
		return nil, e
	}
	return x.containers, nil
}

// Prepare implements engine.Engine.
func (x engines) Prepare(ctx context.Context, s engine.Spec) error {
	of, err := x.of(s)
	if err != nil {
		return err
	}
	return of.Prepare(ctx, s)
}

// Start implements engine.Engine.
func (x engines) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	of, err := x.of(s)
	if err != nil {
		return nil, err
	}
	return of.Start(ctx, s)
}

// Forget implements engine.Engine. Images have names, built trees digests alone.
func (x engines) Forget(ctx context.Context, artifact string) error {
	if strings.Contains(artifact, "@") && x.containers != nil {
		return x.containers.Forget(ctx, artifact)
	}
	return x.processes.Forget(ctx, artifact)
}

// Findings implements engine.Engine.
func (x engines) Findings() []engine.Finding {
	out := x.processes.Findings()
	if x.containers == nil {
		return out
	}
	known := map[string]bool{}
	for _, f := range out {
		known[f.Check] = true
	}
	for _, f := range x.containers.Findings() {
		if !known[f.Check] {
			out = append(out, f)
		}
	}
	return out
}

// Close implements engine.Engine.
func (x engines) Close(ctx context.Context) error {
	var err error
	if x.containers != nil { // its boxes are made by the other's host
		err = x.containers.Close(ctx)
	}
	return errors.Join(err, x.processes.Close(ctx))
}
