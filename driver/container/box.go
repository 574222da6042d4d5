package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/sandbox"
)

// box is a container that runs.
type box struct {
	*sandbox.Box
	spec  *engine.Container
	img   *image.Image
	out   *output
	begun time.Time
}

// role is what a container is in its pod.
type role int

const (
	initial role = iota // runs to its end before the others
	serving
	beside
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is what a container runs: its own command replaces the image's
// entrypoint and arguments, its own arguments replace the image's.
func command(c *engine.Container, img image.Config) []string {
	switch {
	case len(c.Command) > 0:
		return slices.Concat(c.Command, c.Args)
	case len(c.Args) > 0:
		return slices.Concat(img.Entrypoint, c.Args)
	}
	return slices.Concat(img.Entrypoint, img.Cmd)
}

// environment is the image's, then the pod's, then the container's, sorted.
func environment(img image.Config, maps ...map[string]string) []string {
	all := map[string]string{"PATH": defaultPath}
	for _, e := range img.Env {
		if k, v, ok := strings.Cut(e, "="); ok && k != "" {
			all[k] = v
		}
	}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	out := make([]string, 0, len(all))
	for k, v := range all {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// run starts container number n of the instance.
func (i *instance) run(ctx context.Context, c *engine.Container, n int, r role) (*box, error) {
	img := i.images[c.Image]
	args := command(c, img.Config)
	for n := range args {
		args[n] = i.filled(args[n])
	}
	if len(args) == 0 {
		return nil, loadFailed(api.Errorf(api.CodeLoadFailed, "container %s has no command, and image %s has neither entrypoint nor command", c.Name, c.Image).
			WithHint("set command in the container, or ENTRYPOINT in the image"))
	}
	mounts, err := i.mounts(c, r)
	if err != nil {
		return nil, err
	}
	base := map[string]string{"HOSTNAME": i.id}
	var env []string
	if r == serving {
		base["PORT"] = fmt.Sprint(i.spec.Pod.Port)
		env = environment(img.Config, base, i.spec.Env, c.Env)
	} else {
		env = environment(img.Config, base, c.Env)
	}
	for n := range env {
		env[n] = i.filled(env[n])
	}
	dir := c.Dir
	if dir == "" {
		dir = img.Config.WorkingDir
	}
	dir = filepath.Join("/", dir)
	layers := slices.Clone(img.Layers)
	slices.Reverse(layers)
	root := &sandbox.Root{
		Layers: layers, ReadOnly: c.ReadOnlyRoot, Mounts: mounts, User: img.Config.User, UID: c.User, GID: c.Group, NonRoot: c.NonRoot,
		AddCaps: c.AddCaps, DropCaps: c.DropCaps,
	}
	if err := i.engine.slot(ctx); err != nil {
		return nil, err
	}
	defer func() { <-i.engine.slots }()
	b := &box{spec: c, img: img, begun: time.Now()}
	if !i.engine.host.Overlay() || len(layers) == 0 {
		root.Layers, root.Dir = nil, filepath.Join(i.engine.copies, i.boxID(n))
		i.addCopy(root.Dir)
		if err := img.Copy(ctx, root.Dir); err != nil {
			return nil, err
		}
	}
	config := sandbox.Config{
		ID: i.boxID(n), Shared: i.shared, Root: root, Args: args, Env: env, Dir: dir, Limits: c.Limits, Init: asksInside(c),
	}
	if b.Box = i.takeBlank(c, r); b.Box != nil {
		b.out = i.blankOut
		b.out.own(i, c)
		err = b.Enter(ctx, config)
	} else {
		b.out = newOutput(i.engine.o.Sink, i.id)
		b.out.own(i, c)
		var stdout, stderr *os.File
		if stdout, stderr, err = b.out.read.Pipes(); err != nil {
			return nil, api.Errorf(api.CodeStartFailed, "start %s: %w", i.id, err)
		}
		config.Stdout, config.Stderr = stdout, stderr
		b.Box, err = i.engine.host.Start(ctx, config)
		stdout.Close()
		stderr.Close()
	}
	if err != nil {
		return nil, refused(err, c, args)
	}
	i.hold(b)
	return b, nil
}

// asksInside tells whether a probe runs a program in the container.
func asksInside(c *engine.Container) bool {
	for _, p := range []*engine.Probe{c.Startup, c.Readiness, c.Liveness} {
		if p != nil && len(p.Exec) > 0 {
			return true
		}
	}
	return false
}
