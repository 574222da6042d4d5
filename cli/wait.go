package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// waitReady follows o until its status is about its newest spec and says yes or
// no. The object is returned as it was last seen, also with an error.
func (a *app) waitReady(ctx context.Context, c *client.Client, o client.Object, p *progress, limit time.Duration) (client.Object, error) {
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	generation := o.Meta.Generation
	last := o
	for wctx.Err() == nil {
		fresh, err := c.Get(wctx, o.Kind, o.Meta.Name)
		if err != nil {
			if wctx.Err() != nil {
				break
			}
			return last, err
		}
		last = fresh
		done, waits, err := settled(fresh, generation)
		if done {
			return fresh, err
		}
		p.now(waits)
		for e, err := range c.Watch(wctx, o.Kind, client.ListOptions{Fields: "metadata.name=" + o.Meta.Name}, fresh.Meta.ResourceVersion) {
			if api.IsCode(err, api.CodeGone) {
				break // read it again
			}
			if err != nil {
				return last, err
			}
			if e.Type == client.Deleted {
				return last, api.Errorf(api.CodeNotFound, "%s was deleted while it was waited for", ref(o))
			}
			last = e.Object
			done, waits, err := settled(e.Object, generation)
			if done {
				return e.Object, err
			}
			p.now(waits)
		}
	}
	if ctx.Err() != nil {
		return last, &api.Error{Code: api.CodeCanceled, Message: "interrupted; " + ref(o) + " is applied and goes on becoming ready", Hint: "hearth describe " + ref(o) + " says how far it is"}
	}
	_, waits, _ := settled(last, generation)
	return last, api.Errorf(api.CodeNotReady, "%s is not ready after %s: %s", ref(o), short(limit), waits).WithHint("hearth describe %s says what it waits for", ref(o))
}

// settled reports whether o's status is final for the spec of that generation,
// with the error it ended in, or what it waits for.
func settled(o client.Object, generation int64) (done bool, waits string, failure error) {
	var s common
	if err := o.Into(&s); err != nil {
		return true, "", err
	}
	name := o.Meta.Name
	if s.Status.ObservedGeneration < generation {
		return false, "the server to look at " + name, nil
	}
	ready, _ := s.Status.Conditions.Get(api.ConditionReady)
	built, hasBuilt := s.Status.Conditions.Get(api.ConditionBuilt)
	// While a build fails the last good revision keeps serving: Ready stays
	// True, and the verdict about this spec is Built's.
	if hasBuilt && built.Status == api.False && !inProgress(built.Reason) {
		return true, "", conditionError(o, s, built)
	}
	if hasBuilt && built.Status == api.Unknown {
		return false, waiting("building "+name, built), nil
	}
	if s.Status.LatestRevision != s.Status.LatestReadyRevision && ready.Status == api.True {
		return false, waiting("starting "+revisionText(s.Status.LatestRevision), ready), nil
	}
	switch ready.Status {
	case api.True:
		return true, "", nil
	case api.False:
		if !inProgress(ready.Reason) {
			return true, "", conditionError(o, s, ready)
		}
	}
	return false, waiting(name+" to be ready", ready), nil
}

// inProgress reports whether a condition that is not True may still become so
// by itself.
func inProgress(reason string) bool {
	switch reason {
	case "Building", "Pending", "Progressing", "Starting", "Waiting", "Deploying":
		return true
	}
	return false
}

func waiting(what string, c api.Condition) string {
	if c.Message != "" && c.Status != api.True {
		return what + ": " + first(c.Message)
	}
	return what
}

// conditionError makes an error of the condition that failed: its first line is
// the sentence, the rest (a traceback, an excerpt) the detail.
func conditionError(o client.Object, s common, c api.Condition) error {
	code := api.CodeNotReady
	what := "is not ready"
	text := strings.TrimSpace(c.Message)
	reason := strings.ToLower(c.Reason)
	switch {
	case c.Type == api.ConditionBuilt, strings.Contains(reason, "build"):
		code, what = api.CodeBuildFailed, "build failed"
		if b := s.Status.Build; b != nil && len(b.Message) > len(text) {
			text = strings.TrimSpace(b.Message)
		}
	case strings.Contains(reason, "load"), strings.Contains(reason, "import"):
		code, what = api.CodeLoadFailed, "its code does not load"
	case strings.Contains(reason, "start"):
		code, what = api.CodeStartFailed, "does not start"
	case strings.Contains(reason, "runtime"):
		code, what = api.CodeNoRuntime, "cannot run here"
	}
	line, rest, _ := strings.Cut(text, "\n")
	line = strings.TrimPrefix(strings.TrimPrefix(line, what+": "), "the "+what+": ")
	e := api.Errorf(code, "%s: %s: %s", o.Meta.Name, what, line)
	if line == "" {
		e.Message = o.Meta.Name + ": " + what
	}
	e.Detail, e.Hint = strings.TrimRight(rest, "\n"), c.Hint
	if e.Hint == "" && (code == api.CodeStartFailed || code == api.CodeNotReady) {
		e.Hint = "hearth describe " + ref(o) + "; hearth logs " + o.Meta.Name
	}
	return e
}

// isInterrupt reports whether err means that the user had enough.
func isInterrupt(err error) bool { return errors.Is(err, context.Canceled) }
