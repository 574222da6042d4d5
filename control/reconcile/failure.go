package reconcile

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// stage is how far an attempt came.
type stage int

const (
	stageReferences stage = iota
	stageBuild
	stageLoad
)

// maxMessage bounds what a condition quotes.
const maxMessage = 8 << 10

// reasonOf is the condition's one word for a failure.
func reasonOf(st stage, e *api.Error) string {
	switch e.Code {
	case api.CodeNoRuntime:
		return "RuntimeMissing"
	case api.CodeLoadFailed:
		return "LoadFailed"
	case api.CodeChecksum:
		return "ChecksumMismatch"
	case api.CodeUnsafeArchive:
		return "UnsafeArchive"
	case api.CodeUnreachable, api.CodeNotFound:
		if st == stageBuild {
			return "SourceUnavailable"
		}
	}
	switch st {
	case stageReferences:
		return "MissingReference"
	case stageBuild:
		return "BuildFailed"
	}
	return "StartFailed"
}

// lasting reports whether only a change of the object can help.
func lasting(st stage, e *api.Error) bool {
	if st != stageBuild {
		return false
	}
	switch e.Code {
	case api.CodeUnreachable, api.CodeNotFound, api.CodeNoRuntime, api.CodeDisk, api.CodeInternal, api.CodeNotReady:
		return false
	}
	return true
}

// failed writes that the newest spec cannot serve. The last good revision keeps
// serving. It returns err where the host itself failed.
func (a *attempt) failed(ctx context.Context, st stage, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := api.AsError(err)
	reason := reasonOf(st, e)
	if st == stageReferences && e.Code != api.CodeNoRuntime && e.Code != api.CodeStartFailed && e.Code != api.CodeNotFound && e.Code != api.CodeInvalid {
		return err // the store's words, not the reference's
	}
	full := e.Message
	if e.Detail != "" {
		full += "\n" + e.Detail
	}
	werr := a.write(ctx, func(f *api.Function) {
		s := &f.Status
		s.ObservedGeneration, s.URL = f.Metadata.Generation, a.url(f)
		switch st {
		case stageReferences:
			a.buildInfo(f, "Pending", cut(full))
			a.set(f, api.Condition{Type: api.ConditionBuilt, Status: api.Unknown, Reason: reason, Message: e.Message, Hint: e.HelpFor(f.Metadata.Name)})
		case stageBuild:
			a.buildInfo(f, "Failed", cut(full))
			a.set(f, api.Condition{Type: api.ConditionBuilt, Status: api.False, Reason: reason, Message: e.Message, Hint: e.HelpFor(f.Metadata.Name)})
		case stageLoad:
			a.buildInfo(f, "Succeeded", "")
			a.set(f, api.Condition{Type: api.ConditionBuilt, Status: api.True, Reason: "Built"})
		}
		message := e.Message
		if st == stageLoad {
			message = cut(full) // the language's traceback
		}
		a.verdict(f, reason, message, e.HelpFor(f.Metadata.Name))
		a.isolated(f)
	})
	if werr != nil {
		return werr
	}
	a.r.work.change(a.k, func(c *working) {
		c.failed = lasting(st, e)
		c.waiting = st == stageReferences || e.Code == api.CodeNoRuntime
		c.fails++
	})
	a.r.events.Warning(ctx, reference("Function", &a.f.Metadata), reason, "%s", cut(full))
	var own *api.Error
	if !errors.As(err, &own) || own.Code == api.CodeInternal || own.Code == api.CodeDisk {
		return err
	}
	return nil
}

// verdict says that the newest spec does not serve, and what does.
func (a *attempt) verdict(f *api.Function, reason, message, hint string) {
	a.set(f, api.Condition{Type: api.ConditionUpdated, Status: api.False, Reason: reason, Message: message, Hint: hint})
	s := &f.Status
	if s.LatestReadyRevision == "" {
		a.set(f, api.Condition{Type: api.ConditionReady, Status: api.False, Reason: reason, Message: message, Hint: hint})
		return
	}
	// Still about the generation that serves: its observedGeneration stays.
	c, _ := s.Conditions.Get(api.ConditionReady)
	c.Type, c.Status, c.Reason, c.Hint = api.ConditionReady, api.True, "ServingPrevious", hint
	first, _, _ := strings.Cut(message, "\n")
	c.Message = display(s.LatestReadyRevision) + " keeps serving; the newest spec does not: " + first
	s.Conditions = s.Conditions.Set(c, time.Now())
}

// failedRevision writes that rev does not load.
func (a *attempt) failedRevision(ctx context.Context, rev *api.Revision, err error) error {
	e := api.AsError(err)
	reason := reasonOf(stageLoad, e)
	message := e.Message
	if e.Detail != "" {
		message += "\n" + e.Detail
	}
	werr := a.r.revisionStatus(ctx, revisionKey(a.k.Namespace, rev.Metadata.Name), func(v *api.Revision) bool {
		v.Status.Conditions = v.Status.Conditions.Set(api.Condition{
			Type: api.ConditionReady, Status: api.False, Reason: reason, Message: cut(message), Hint: e.HelpFor(v.Spec.Function), ObservedGeneration: v.Metadata.Generation,
		}, time.Now())
		return true
	})
	if werr != nil {
		return werr
	}
	werr = a.write(ctx, func(f *api.Function) {
		f.Status.LatestRevision = rev.Metadata.Name
		f.Status.RevisionCount = max(f.Status.RevisionCount, rev.Spec.Number)
	})
	if werr != nil {
		return werr
	}
	return a.failed(ctx, stageLoad, err)
}

// cut keeps the end of a long message, where languages say what is wrong, and
// its first line.
func cut(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	first, rest, _ := strings.Cut(s, "\n")
	if len(first) > maxMessage/2 {
		first = strings.ToValidUTF8(first[:maxMessage/2], "")
	}
	rest = rest[max(0, len(rest)-maxMessage/2):]
	if i := strings.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[i+1:]
	}
	return first + "\n…\n" + strings.ToValidUTF8(rest, "")
}

// display writes NAME-N as people do: NAME@N.
func display(revision string) string {
	if i := strings.LastIndexByte(revision, '-'); i > 0 {
		return revision[:i] + "@" + revision[i+1:]
	}
	return revision
}
