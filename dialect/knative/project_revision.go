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
		c.unknown(ConditionResources, "Deploying", "")
		c.unknown(ConditionHealthy, "Deploying", "")
		return
	}
	text := ready.Message
	if m := exited.FindStringSubmatch(text); m != nil {
		c.unknown(ConditionResources, "Deploying", "")
		c.no(ConditionHealthy, "ExitCode"+m[1], "Container failed with: %s", text)
		return
	}
	if strings.Contains(text, "out of memory") {
		c.unknown(ConditionResources, "Deploying", "")
		c.no(ConditionHealthy, "ExitCode137", "Container failed with: %s", text)
		return
	}
	c.unknown(ConditionHealthy, "Deploying", "")
	if ready.Reason == "NeverReady" || strings.Contains(text, "not ready within") {
		c.no(ConditionResources, "ProgressDeadlineExceeded", "Initial scale was never achieved: %s", text)
		return
	}
	c.no(ConditionResources, or(ready.Reason, "StartFailed"), "%s", text)
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
