package knative

import (
	"reflect"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

// TestScaleByUsage: the class hpa counts what instances use, keeps one of them
// unless it is told not to, and takes nothing of the other class's windows.
func TestScaleByUsage(t *testing.T) {
	const class = `"autoscaling.knative.dev/class":"hpa.autoscaling.knative.dev"`
	for name, c := range map[string]struct {
		annotations, config string
		least               int
		want                api.Autoscale
	}{
		"defaults":    {class, `{}`, 1, api.Autoscale{Metric: api.MetricCPU}},
		"memory":      {class + `,"autoscaling.knative.dev/metric":"memory","autoscaling.knative.dev/target":"200","autoscaling.knative.dev/window":"90s"`, `{}`, 1, api.Autoscale{Metric: api.MetricMemory, Target: 200, Window: api.Seconds(90)}},
		"to zero":     {class + `,"autoscaling.knative.dev/min-scale":"0"`, `{}`, 0, api.Autoscale{Metric: api.MetricCPU}},
		"by settings": {`"autoscaling.knative.dev/target":"60"`, `{"pod-autoscaler-class":"hpa.autoscaling.knative.dev","min-scale":"2","max-scale":"9","stable-window":"30s"}`, 2, api.Autoscale{Metric: api.MetricCPU, Target: 60}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(api.ConfigMaps, `{"metadata":{"name":"config-autoscaler","namespace":"knative-serving"},"data":`+c.config+`}`)
			w.apply(Services, service("img:1", `TMETA "annotations":{`+c.annotations+`}`))
			w.settle()
			s := must[api.Revision](w, api.Revisions, "hello-00001").Spec.Scale
			c.want.Policy = api.PolicyKnative
			if s.Min != c.least || !reflect.DeepEqual(*s.Auto, c.want) {
				t.Errorf("%d %+v, want %d %+v", s.Min, *s.Auto, c.least, c.want)
			}
			if errs := api.ValidateScale("spec.scale", s); len(errs) > 0 {
				t.Errorf("%v", errs)
			}
		})
	}
}

func TestScale(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", `TMETA "annotations":{"autoscaling.knative.dev/minScale":"2","autoscaling.knative.dev/max-scale":"9","autoscaling.knative.dev/metric":"rps",`+
		`"autoscaling.knative.dev/target":"12.5","autoscaling.knative.dev/window":"90s","autoscaling.knative.dev/panic-window-percentage":"20","autoscaling.knative.dev/target-burst-capacity":"-1",`+
		`"autoscaling.knative.dev/scale-down-delay":"5m","autoscaling.knative.dev/scaleToZeroPodRetentionPeriod":"1m","autoscaling.knative.dev/activation-scale":"3","autoscaling.knative.dev/initial-scale":"0","hearth.run/scaling-policy":"hearth"}`))
	w.settle()
	s := must[api.Revision](w, api.Revisions, "hello-00001").Spec.Scale
	a := s.Auto
	if s.Min != 2 || s.Max != 9 || a.Policy != api.PolicyHearth || a.Metric != "rps" || a.Target != 12.5 || a.Window.Duration != 90*time.Second || a.PanicWindow != 20 || *a.Burst != -1 ||
		a.DownDelay.Duration != 5*time.Minute || a.Retention.Duration != time.Minute || a.Activation != 3 || *a.Initial != 0 {
		t.Errorf("%+v %+v", s, a)
	}
	if errs := api.ValidateScale("spec.scale", s); len(errs) > 0 {
		t.Errorf("%v", errs)
	}
}

func TestReplicas(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", ""))
	for _, c := range []struct {
		ready, wanted  int
		status, reason string
	}{{0, 0, api.False, "NoTraffic"}, {0, 2, api.Unknown, "Queued"}, {2, 2, api.True, ""}} {
		w.replicas["hello-00001"] = [2]int{c.ready, c.wanted}
		w.settle()
		st := must[Revision](w, Revisions, "hello-00001").Status
		wantCondition(t, st.Conditions, "Active", c.status, c.reason, "")
		if int(*st.ActualReplicas) != c.ready || int(*st.DesiredReplicas) != c.wanted || !st.Conditions.Ready() {
			t.Errorf("%+v", st)
		}
	}
}

// TestActive goes through the rows of Knative's table.
func TestActive(t *testing.T) {
	before := func(status, reason string) api.Condition { return api.Condition{Status: status, Reason: reason} }
	for name, c := range map[string]struct {
		was                  api.Condition
		ready, wanted, least int
		want                 string
	}{
		"new and unused":            {before("", ""), 0, 0, 1, "False NoTraffic"},
		"unused":                    {before(api.True, ""), 0, 0, 1, "False NoTraffic"},
		"called":                    {before(api.False, "NoTraffic"), 0, 1, 1, "Unknown Queued"},
		"up":                        {before(api.Unknown, "Queued"), 1, 1, 1, "True "},
		"too few":                   {before(api.True, ""), 1, 3, 2, "Unknown Queued"},
		"given up":                  {before(api.Unknown, "Queued"), 0, 0, 1, "False TimedOut"},
		"still given up":            {before(api.False, "TimedOut"), 0, 0, 1, "False TimedOut"},
		"called again":              {before(api.False, "TimedOut"), 0, 1, 1, "Unknown Queued"},
		"up after that":             {before(api.False, "TimedOut"), 1, 1, 1, "True "},
		"never wanted, never there": {before(api.Unknown, "Queued"), 0, 0, 0, "False NoTraffic"},
	} {
		if status, reason, _ := active(c.was, c.ready, c.wanted, c.least); status+" "+reason != c.want {
			t.Errorf("%s: %s %s, want %s", name, status, reason, c.want)
		}
	}
}

// TestTimedOut: a revision that never starts, and one that does not start again.
func TestTimedOut(t *testing.T) {
	w := newWorld(t)
	condition := func() string {
		c, _ := must[Revision](w, Revisions, "hello-00001").Status.Conditions.Get(ConditionActive)
		return c.Status + " " + c.Reason
	}
	w.verdicts["hello-00001"] = api.Condition{Type: api.ConditionReady, Status: api.Unknown}
	w.apply(Services, service("img:1", ""))
	w.settle()
	if got := condition(); got != "Unknown Deploying" {
		t.Errorf("while it is deployed: %s", got)
	}
	w.verdicts["hello-00001"] = api.Condition{Type: api.ConditionReady, Status: api.False, Reason: "NeverReady"}
	w.settle()
	if got := condition(); got != "False TimedOut" {
		t.Errorf("after that failed: %s", got)
	}
	delete(w.verdicts, "hello-00001")
	for _, c := range []struct {
		ready, wanted int
		want          string
	}{{1, 1, "True "}, {0, 0, "False NoTraffic"}, {0, 1, "Unknown Queued"}, {0, 0, "False TimedOut"}} {
		w.replicas["hello-00001"] = [2]int{c.ready, c.wanted}
		if w.settle(); condition() != c.want {
			t.Errorf("%d of %d: %s, want %s", c.ready, c.wanted, condition(), c.want)
		}
	}
}
