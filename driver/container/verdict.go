package container

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox"
)

// loadFailed completes an error about the image: its message is all there is
// to show.
func loadFailed(e *api.Error) *api.Error {
	if e.Detail == "" {
		e.Detail = e.Message
	}
	return e
}

// refused says why a container could not be started.
func refused(err error, c *engine.Container, args []string) error {
	var s *sandbox.StartError
	if !errors.As(err, &s) {
		return err
	}
	text := s.Text
	if rest, ok := strings.CutPrefix(text, "step "); ok { // "31 [user app -1 -1 0]: what is wrong"
		step, what, _ := strings.Cut(rest, "]: ")
		if strings.Contains(step, "[user ") {
			e := api.Errorf(api.CodeLoadFailed, "container %s cannot run: %s", c.Name, what).WithCause(err)
			if strings.Contains(what, "runAsNonRoot") {
				return loadFailed(e.WithHint("set runAsUser to a number above 0, or USER in the image"))
			}
			return loadFailed(e.WithHint("set runAsUser to a number, or add the user to the image"))
		}
		return err
	}
	e := api.Errorf(api.CodeLoadFailed, "container %s cannot run %q: %s", c.Name, args[0], text).WithCause(err)
	e.Detail = fmt.Sprintf("command: %q\n%s", args, text)
	hint := "check command in the container and ENTRYPOINT in the image"
	switch {
	case strings.HasPrefix(text, "working folder"):
		hint = "check workingDir"
	case errors.Is(s, syscall.ENOENT):
		hint = "the file is not in the image, or what it needs to run is not: the interpreter of its first line, or the loader of a program that is not static"
	case errors.Is(s, syscall.ENOEXEC):
		hint = "the file is a script without #! line, or was built for another processor"
	case errors.Is(s, syscall.EACCES):
		hint = "the file is not executable for the container's user: chmod +x it in the image"
	}
	return e.WithHint("%s", hint)
}

// explain makes of what kept an instance from coming up an error its author can
// use.
func (i *instance) explain(ctx context.Context, err error, limit time.Duration) error {
	var known *api.Error
	var end *ended
	var not *unready
	late := errors.Is(context.Cause(ctx), errProgress)
	switch {
	case errors.As(err, &end):
		return i.explainEnd(end)
	case errors.As(err, &not) && (late || not.times > 0):
		return i.explainUnready(not, limit)
	case errors.As(context.Cause(ctx), &known): // the engine is closing
		return known
	case late:
		return api.Errorf(api.CodeStartFailed, "%s was not started within %s", i.spec.Revision, limit).WithCause(err)
	}
	return err
}

func (i *instance) explainEnd(end *ended) error {
	c := end.box.spec
	e := api.Errorf(api.CodeLoadFailed, "container %s %s before it was ready", c.Name, end.exit.Reason)
	init := false
	for n := range i.spec.Pod.Init {
		init = init || &i.spec.Pod.Init[n] == c
	}
	if init {
		e = api.Errorf(api.CodeLoadFailed, "init container %s %s", c.Name, end.exit.Reason)
	}
	switch {
	case end.exit.OOM:
		e = e.WithHint("raise resources.limits.memory of the container")
	case end.exit.Code == 0 && !init:
		e = e.WithHint("a service has to stay and serve on $PORT; check its command")
	default:
		e = e.WithHint("the lines above are its last words; hearth logs has all of them")
	}
	e.Detail = end.box.out.last()
	return loadFailed(e)
}

func (i *instance) explainUnready(u *unready, limit time.Duration) error {
	c := u.box.spec
	p := c.Readiness
	if u.kind == "startup" {
		p = c.Startup
	}
	port := i.spec.Pod.Port
	if p != nil {
		port = newProber(i, u.box, p).port()
	}
	listens, known := i.listening()
	wrong := known && port != 0 && !slices.Contains(listens, port)
	var e *api.Error
	switch {
	case u.times > 0:
		e = api.Errorf(api.CodeStartFailed, "the startup probe of container %s failed %d times: %v", c.Name, u.times, u.cause)
	case wrong || p == nil || p.TCP != nil:
		e = api.Errorf(api.CodeStartFailed, "container %s never became ready on port %d within %s", c.Name, port, limit)
	default:
		e = api.Errorf(api.CodeStartFailed, "container %s never became ready within %s: %v", c.Name, limit, u.cause)
	}
	if wrong {
		e.Message += "; it listens on " + ports(listens)
	}
	switch {
	case wrong && len(listens) > 0:
		e = e.WithHint("serve on $PORT, which is %d, or set containerPort to %d", port, listens[0])
	case wrong:
		e = e.WithHint("serve on $PORT, which is %d; what takes long to start needs a longer progress deadline", port)
	default:
		e = e.WithHint("the probe has to be answered with success; hearth logs shows what the program says")
	}
	e.Detail = u.box.out.last()
	return loadFailed(e)
}

// listening are the ports something in the pod listens on, and whether they
// can be told from the host's.
func (i *instance) listening() ([]int, bool) {
	if i.spec.Network == sandbox.NetworkHost {
		return nil, false
	}
	list, err := i.shared.Listening()
	return list, err == nil
}

func ports(list []int) string {
	if len(list) == 0 {
		return "no port"
	}
	word := "port "
	if len(list) > 1 {
		word = "ports "
	}
	for n, p := range list {
		if n > 0 {
			word += ", "
		}
		word += fmt.Sprint(p)
	}
	return word
}
