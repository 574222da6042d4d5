package cli

import (
	"context"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// grace is how long a no of an object that follows others, such as a route,
// is not believed: what it points at may be on its way.
const grace = 3 * time.Second

// waitReady follows o until its status is about its newest spec and says yes or
// no. The object is returned as it was last seen, also with an error; p, which may
// be nil, tells what is waited for.
func (a *app) waitReady(ctx context.Context, c *client.Client, o client.Object, p *progress, limit time.Duration) (client.Object, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began, last := time.Now(), o
	for limited.Err() == nil {
		fresh, err := c.Get(limited, o.Kind, o.Meta.Name)
		if err != nil {
			if limited.Err() != nil {
				break
			}
			return last, err
		}
		last = fresh
		done, waits, err := settled(fresh, o.Meta.Generation)
		if done && (err == nil || o.Kind.Kind == "Function" || time.Since(began) >= grace) {
			return fresh, err
		}
		if p != nil {
			p.now(waits)
		}
		if err := a.nextChange(limited, c, fresh, done, began); err != nil {
			return last, err
		}
	}
	if ctx.Err() != nil {
		return last, &api.Error{Code: api.CodeCanceled, Message: "interrupted; " + ref(o) + " is applied and goes on becoming ready", Hint: "hearth describe " + ref(o) + " says how far it is"}
	}
	_, waits, _ := settled(last, o.Meta.Generation)
	return last, api.Errorf(api.CodeNotReady, "%s is not ready after %s: %s", ref(o), short(limit), waits).WithHint("hearth describe %s says what it waits for", ref(o))
}

// nextChange returns when o has changed, or it is time to look again: ctx has
// ended, or with doubted set the grace is over.
func (a *app) nextChange(ctx context.Context, c *client.Client, o client.Object, doubted bool, began time.Time) error {
	if doubted {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, began.Add(grace))
		defer cancel()
	}
	for e, err := range c.Watch(ctx, o.Kind, client.ListOptions{Fields: "metadata.name=" + o.Meta.Name}, o.Meta.ResourceVersion) {
		switch {
		case api.IsCode(err, api.CodeGone):
			return nil
		case err != nil:
			return err
		case e.Type == client.Deleted:
			return api.Errorf(api.CodeNotFound, "%s was deleted while it was waited for", ref(o))
		}
		return nil
	}
	return nil
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
	b, stamp := s.Status.Build, o.Meta.Annotations[api.AnnotationRebuild]
	if stamp != "" && o.Kind.Kind == "Function" && (b == nil || b.Rebuild != stamp || b.Phase == "Running") {
		return false, "the server to build " + name + " again", nil
	}
	ready, _ := s.Status.Conditions.Get(api.ConditionReady)
	built, _ := s.Status.Conditions.Get(api.ConditionBuilt)
	// While the newest spec fails the last good revision keeps serving: Ready
	// stays True, and the verdict about this spec is Updated's.
	verdict, isFunction := s.Status.Conditions.Get(api.ConditionUpdated)
	if !isFunction {
		verdict = ready
	}
	switch {
	case built.Status == api.False:
		return true, "", conditionError(o, s, built)
	case verdict.Status == api.False:
		return true, "", conditionError(o, s, verdict)
	case verdict.Status == api.True && ready.Status == api.True:
		return true, "", nil
	case built.Status == api.Unknown && s.Spec.Source.Image != "": // nothing is built
		return false, waiting("starting "+name, built), nil
	case built.Status == api.Unknown:
		return false, waiting("building "+name, built), nil
	case isFunction:
		return false, waiting("starting "+name, verdict), nil
	}
	return false, waiting(name+" to be ready", ready), nil
}

func waiting(what string, c api.Condition) string {
	if c.Message != "" && c.Status != api.True && c.Reason != "Building" {
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
		if s.Spec.Source.Image != "" || o.Kind.Group != api.Group {
			what = "does not start"
		}
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
	if e.Detail = strings.TrimRight(rest, "\n"); strings.TrimSpace(e.Detail) == line {
		e.Detail = ""
	}
	e.Hint = named(c.Hint, o.Meta.Name)
	if e.Hint == "" && (code == api.CodeStartFailed || code == api.CodeNotReady) {
		e.Hint = "hearth describe " + ref(o) + "; hearth logs " + o.Meta.Name
	}
	return e
}

// named puts an object's name into a hint that is the same for all of them.
func named(hint, name string) string { return strings.ReplaceAll(hint, "NAME", name) }
