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
		message := ""
		if ready.Reason == "Pulling" {
			message = ready.Message
		}
		c.unknown(ConditionResources, "Deploying", "%s", message)
		c.unknown(ConditionHealthy, "Deploying", "%s", message)
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

// replicas projects how many instances there are.
func (s *step) replicas(o *Revision, c *conditions) {
	ready, wanted := s.v.Replicas(s.k.Namespace, s.k.Name)
	o.Status.ActualReplicas, o.Status.DesiredReplicas = ptr(int32(ready)), ptr(int32(wanted))
	switch {
	case ready > 0:
		c.set(ConditionActive, api.True, "", "", SeverityInfo)
	case wanted > 0:
		c.set(ConditionActive, api.Unknown, "Queued", "Requests to the target are being buffered as resources are provisioned.", SeverityInfo)
	default:
		c.set(ConditionActive, api.False, "NoTraffic", "The target is not receiving traffic.", SeverityInfo)
	}
}
