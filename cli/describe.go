package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/core/record"
)

func (a *app) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe [KIND/]NAME",
		Short: "Say whether something works and, if not, why",
		Long:  "Say whether something works and, if not, why. The first line is the verdict; then conditions, the last build, failed calls and events follow, and what to do next.",
		Example: `  hearth describe hello
  hearth describe revision/hello@2
  hearth describe route/shop`,
		Args:              args(1, 2, "[kind/]name"),
		ValidArgsFunction: a.completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runDescribe(cmd.Context(), strings.Join(args, "/"))
		},
	}
}

// common is what a describe reads of any kind.
type common struct {
	Spec struct {
		Source api.Source `json:"source"`
	} `json:"spec"`
	Status struct {
		Conditions          api.Conditions     `json:"conditions"`
		ObservedGeneration  int64              `json:"observedGeneration"`
		LatestRevision      string             `json:"latestRevision"`
		LatestReadyRevision string             `json:"latestReadyRevision"`
		URL                 string             `json:"url"`
		Build               *api.BuildInfo     `json:"build"`
		Traffic             []api.TrafficShare `json:"traffic"`
	} `json:"status"`
}

func (a *app) runDescribe(ctx context.Context, word string) error {
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	p := a.progress("reading " + word)
	defer p.done()
	o, err := a.find(ctx, c, t, word)
	if err != nil {
		return err
	}
	if a.machine() || a.output == "name" {
		p.done()
		return a.showObjects([]client.Object{o}, true)
	}
	var s common
	if err := o.Into(&s); err != nil {
		return err
	}
	s.foreign(o)
	var b strings.Builder
	paint := a.tablePaint()
	line := verdict(paint, o, s)
	scale := a.scaled(ctx, c, o)
	if serving := s.Status.LatestReadyRevision; o.Kind.Kind == "Function" && serving != "" {
		if why := stuck(scale, serving); why != "" {
			line = paint.bold(ref(o)) + "   " + paint.bad("does not start any more") + ": " + why
		}
	}
	fmt.Fprintln(&b, line)
	next := describeConditions(&b, paint, o.Meta.Name, s)
	describeTraffic(&b, s.Status.Traffic)
	describeInstances(&b, scale)
	if i := s.Status.Build; s.Spec.Source.Image == "" || i != nil && i.Phase == "Failed" { // of an image nothing is built
		describeBuild(&b, i)
	}
	describeContainers(&b, o)
	if o.Kind.Kind != "Secret" { // whose values are not for screens
		describeSpec(&b, o)
	}
	if o.Kind.Kind == "Function" {
		a.describeCalls(ctx, &b, c, o.Meta.Name)
	}
	a.describeEvents(ctx, &b, c, o)
	if next == "" && o.Kind.Kind == "Function" {
		next = "hearth invoke " + o.Meta.Name
		if !s.Status.Conditions.Ready() {
			next = "hearth logs " + o.Meta.Name
		}
	}
	if next != "" {
		fmt.Fprintf(&b, "\nnext: %s\n", next)
	}
	p.done()
	return a.data(b.String())
}

// verdict is the first line: can this be used now, and if not, why.
func verdict(p painter, o client.Object, s common) string {
	line := p.bold(ref(o))
	ready, known := s.Status.Conditions.Get(api.ConditionReady)
	switch {
	case o.Meta.DeletionTimestamp != nil:
		return line + "   being deleted"
	case !o.Kind.Status:
		return line
	case !known || ready.Status == api.Unknown:
		line += "   " + p.warn("not ready yet")
		if ready.Message != "" {
			line += ": " + first(ready.Message)
		}
	case ready.Status == api.True:
		line += "   " + p.good("ready")
		if s.Status.URL != "" {
			line += "   " + s.Status.URL
		}
	default:
		line += "   " + p.bad("not ready") + ": " + first(strings.TrimSpace(ready.Message))
		if ready.Message == "" {
			line += ready.Reason
		}
	}
	if r := s.Status.LatestReadyRevision; r != "" {
		line += "   " + served(s.Status.Traffic, r)
		if u, ok := s.Status.Conditions.Get(api.ConditionUpdated); ok && u.Status == api.False {
			line += "; the newest change does not: " + first(u.Message)
		}
	}
	if g := s.Status.ObservedGeneration; g != 0 && g < o.Meta.Generation {
		line += "   (a newer change is not looked at yet)"
	}
	return line
}

func first(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// describeConditions lists what is not well, then what is, and returns the hint
// of the first that is not.
func describeConditions(b *strings.Builder, p painter, name string, s common) (next string) {
	if len(s.Status.Conditions) == 0 {
		return ""
	}
	b.WriteString("\nconditions:\n")
	width := 10
	for _, c := range s.Status.Conditions {
		width = max(width, len(c.Type))
	}
	said := "" // what the one before said, which is not said twice
	for _, c := range s.Status.Conditions {
		mark := p.good("✓")
		switch c.Status {
		case api.False:
			mark = p.bad("✗")
		case api.Unknown:
			mark = p.warn("…")
		}
		if c.Severity != "" && c.Status != api.True {
			mark = p.dim("·") // of interest, and nothing wrong
		}
		line := fmt.Sprintf("  %s %-*s %s", mark, width, c.Type, c.Reason)
		if c.Message != "" && c.Message != said {
			line += "   " + indent(strings.TrimSpace(c.Message), "      ")
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		if hint := named(c.Hint, name); hint != "" && c.Status != api.True && c.Message != said {
			fmt.Fprintf(b, "      %s %s\n", p.dim("hint:"), hint)
			if next == "" {
				next = hint
			}
		}
		said = c.Message
	}
	return next
}

// served says which revisions answer.
func served(traffic []api.TrafficShare, latest string) string {
	var parts []string
	for _, t := range traffic {
		switch {
		case t.Percent == 100:
			return revisionText(t.Revision) + " serves"
		case t.Percent > 0:
			parts = append(parts, fmt.Sprintf("%s %d %%", revisionText(t.Revision), t.Percent))
		}
	}
	if len(parts) == 0 {
		return revisionText(latest) + " serves"
	}
	return strings.Join(parts, ", ")
}

// describeTraffic lists the shares where there is more than one destination, or
// the one there is does not follow the newest revision.
func describeTraffic(b *strings.Builder, traffic []api.TrafficShare) {
	if len(traffic) == 0 || len(traffic) == 1 && traffic[0].Latest {
		return
	}
	b.WriteString("\ntraffic:\n")
	for _, t := range traffic {
		line := fmt.Sprintf("  %3d %%  %s", t.Percent, revisionText(t.Revision))
		if t.Tag != "" {
			line += "   tag " + t.Tag
		}
		if t.URL != "" {
			line += "   " + t.URL
		}
		if !t.Latest && t.Percent == 100 {
			line += "   pinned"
		}
		b.WriteString(line + "\n")
	}
}

func describeBuild(b *strings.Builder, i *api.BuildInfo) {
	if i == nil {
		return
	}
	b.WriteString("\nlast build: " + strings.ToLower(i.Phase))
	if i.Started != nil {
		b.WriteString(", " + age(time.Since(i.Started.Time)) + " ago")
	}
	if i.Duration != nil {
		b.WriteString(", took " + short(i.Duration.Duration))
	}
	b.WriteByte('\n')
	if i.Phase == "Failed" && i.Message != "" {
		fmt.Fprintf(b, "    %s\n", indent(strings.TrimSpace(i.Message), "    "))
	}
}

// specField shortens the name of a field of a template.
func specField(name string) string {
	for _, p := range []string{"template spec ", "template metadata annotations ", "template metadata "} {
		name = strings.TrimPrefix(name, p)
	}
	return name
}

// describeSpec lists the spec's scalars; code is left out.
func describeSpec(b *strings.Builder, o client.Object) {
	var m struct {
		Spec map[string]any `json:"spec"`
	}
	if json.Unmarshal(o.JSON, &m) != nil || len(m.Spec) == 0 {
		return
	}
	delete(m.Spec, "source")
	if o.Kind.Group == "serving.knative.dev" && o.Kind.Kind == "Service" {
		delete(m.Spec, "traffic") // its status says it better
	}
	var rows [][2]string
	for _, r := range flatten("", m.Spec) {
		rows = append(rows, [2]string{specField(r[0]), first(r[1])})
	}
	for _, k := range []string{"command", "env", "targets", "traffic", "methods", "secrets", "config"} {
		list, _ := m.Spec[k].([]any)
		var words []string
		for _, item := range list {
			word, ok := item.(string)
			if !ok {
				rows = append(rows, [2]string{k, listed(item)})
				continue
			}
			words = append(words, word)
		}
		if len(words) > 0 {
			rows = append(rows, [2]string{k, strings.Join(words, " ")})
		}
	}
	if len(rows) == 0 {
		return
	}
	width := 16
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	b.WriteString("\nspec:\n")
	for _, r := range rows {
		fmt.Fprintf(b, "  %-*s %s\n", width, r[0], r[1])
	}
}

// listed is an item of a list in one line: a variable as NAME=value, all else as
// JSON.
func listed(item any) string {
	if v, ok := item.(map[string]any); ok && len(v) == 2 {
		name, named := v["name"].(string)
		if value, ok := v["value"].(string); named && ok {
			return name + "=" + first(value)
		}
	}
	text, err := marshal(item)
	if err != nil {
		return fmt.Sprint(item)
	}
	return string(text)
}

func (a *app) describeCalls(ctx context.Context, b *strings.Builder, c *client.Client, name string) {
	calls, err := c.Calls(ctx, record.Query{Function: name, Errors: true, Limit: 5})
	if err != nil || len(calls) == 0 {
		return // the verdict stands without them
	}
	b.WriteString("\nfailed calls, newest first:\n")
	for _, x := range calls {
		fmt.Fprintf(b, "  %s   %d %s %s   %s   %s", x.Time.Local().Format(time.TimeOnly), x.Status, x.Method, x.Path, short(x.Duration), revisionText(x.Revision))
		if x.Code != "" {
			b.WriteString("   " + x.Code)
		}
		fmt.Fprintf(b, "   hearth logs --request %s\n", x.Request)
	}
}

func (a *app) describeEvents(ctx context.Context, b *strings.Builder, c *client.Client, o client.Object) {
	l, err := c.List(ctx, mustKind("event"), client.ListOptions{Fields: "involvedObject.kind=" + o.Kind.Kind + ",involvedObject.name=" + o.Meta.Name})
	if err != nil {
		return
	}
	var events []api.Event
	for _, item := range l.Items {
		e, err := client.As[api.Event](item, nil)
		if uid := o.Meta.UID; err == nil && e.InvolvedObject.UID != "" && uid != "" && e.InvolvedObject.UID != uid {
			continue // of one that had the name before
		}
		if err == nil && e.InvolvedObject.Name == o.Meta.Name && e.InvolvedObject.Kind == o.Kind.Kind {
			events = append(events, *e)
		}
	}
	if len(events) == 0 {
		return
	}
	when := func(e api.Event) time.Time {
		for _, t := range []*api.Time{e.LastTimestamp, e.EventTime, e.FirstTimestamp, e.Metadata.CreationTimestamp} {
			if t != nil {
				return t.Time
			}
		}
		return time.Time{}
	}
	slices.SortStableFunc(events, func(x, y api.Event) int { return when(y).Compare(when(x)) })
	b.WriteString("\nevents, newest first:\n")
	for _, e := range events[:min(len(events), 8)] {
		fmt.Fprintf(b, "  %-4s %-8s %-16s %s\n", age(time.Since(when(e))), e.Type, e.Reason, first(e.Message))
	}
}
