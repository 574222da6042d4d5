package knative

import (
	"regexp"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// exited finds how a container ended in what an engine says about it.
var exited = regexp.MustCompile(`exited with status (\d+)`)

// health projects whether the native revision starts.
func (s *step) health(native *api.Revision, c *conditions) {
	ready, _ := native.Status.Conditions.Get(api.ConditionReady)
	switch ready.Status {
	case api.True:
		c.yes(ConditionResources)
		c.yes(ConditionHealthy)
		return
	case api.False:
	default:
		c.unknown(ConditionResources, "Deploying", "%s", ready.Message) // how far it is
		c.unknown(ConditionHealthy, "Deploying", "%s", ready.Message)
		return
	}
	text := ready.Message
	if ready.Hint != "" {
		text += "\n" + ready.Hint
	}
	said := func(words string) bool { return strings.Contains(ready.Message, words) }
	kind, reason, prefix := ConditionResources, or(ready.Reason, "StartFailed"), ""
	switch m := exited.FindStringSubmatch(ready.Message); {
	case m != nil:
		kind, reason, prefix = ConditionHealthy, "ExitCode"+m[1], "Container failed with: "
	case said("out of memory"): // killed by signal 9, as shells say it
		kind, reason, prefix = ConditionHealthy, "ExitCode137", "Container failed with: "
	case ready.Reason == "NeverReady", said("never became ready"), said("not ready within"), said("not started within"):
		reason, prefix = "ProgressDeadlineExceeded", "Initial scale was never achieved: "
	case ready.Reason == "ImageUnavailable":
		kind, reason, prefix = ConditionHealthy, "ContainerMissing", "Unable to fetch image: "
	case said("cannot run"):
		reason = "RunContainerError"
	}
	c.unknown(ConditionResources, "Deploying", "")
	c.unknown(ConditionHealthy, "Deploying", "")
	c.no(kind, reason, "%s%s", prefix, text)
}

// replicas projects how many instances there are, and whether they are enough to
// answer.
func (s *step) replicas(o *Revision, native *api.Revision, c *conditions) {
	ready, wanted := s.v.Replicas(s.k.Namespace, s.k.Name)
	o.Status.ActualReplicas, o.Status.DesiredReplicas = ptr(int32(ready)), ptr(int32(wanted))
	least := max(native.Spec.Scale.Min, 1)
	verdict, _ := native.Status.Conditions.Get(api.ConditionReady)
	was, _ := o.Status.Conditions.Get(ConditionActive)
	switch a := native.Spec.Scale.Auto; {
	case verdict.Status == api.True:
		if was.Reason == "Deploying" {
			was = api.Condition{} // it was deployed, and may have been idle since
		}
	case verdict.Status == api.False:
		ready = 0 // what there is are tries
	case a == nil || a.Initial == nil || *a.Initial > 0:
		c.set(ConditionActive, api.Unknown, "Deploying", "", SeverityInfo)
		return
	}
	status, reason, message := active(was, ready, wanted, least)
	c.set(ConditionActive, status, reason, message, SeverityInfo)
}

// active is the condition of a revision with ready instances of wanted, which needs
// at least some; was is what it was before. One that was being activated, and then
// is not wanted any more, could not be.
func active(was api.Condition, ready, wanted, least int) (status, reason, message string) {
	activating := was.Status == api.Unknown || was.Reason == "TimedOut"
	switch {
	case wanted == 0 && activating && least > 0:
		return api.False, "TimedOut", "The target could not be activated."
	case wanted == 0 || least == 0:
		return api.False, "NoTraffic", "The target is not receiving traffic."
	case ready < least:
		return api.Unknown, "Queued", "Requests to the target are being buffered as resources are provisioned."
	}
	return api.True, "", ""
}
