package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

func (a *app) rollbackCommand() *cobra.Command {
	to := ""
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Send all requests to an earlier revision",
		Long: `Send all requests of a function or service to an earlier revision: the newest that works before the one that serves, or that of --to.
It pins spec.traffic, so later deployments get no requests until --to latest releases it. Addresses of tags stay.`,
		Example: `  hearth rollback shop
  hearth rollback shop --to shop@3
  hearth rollback service/hello --to hello-00001
  hearth rollback shop --to latest`,
		Args:              args(1, 1, "the name of a function or service"),
		ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRollback(cmd.Context(), args[0], to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "`revision` to serve, such as shop@3 or 3; latest follows the newest again")
	return cmd
}

func (a *app) runRollback(ctx context.Context, word, to string) error {
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	p := a.progress("rolling back " + word)
	defer p.done()
	o, err := a.rollbackOf(ctx, c, t, word)
	if err != nil {
		return err
	}
	if o.Kind.Kind != "Function" {
		return a.rollbackService(ctx, c, p, o, to)
	}
	kd, name := o.Kind, o.Meta.Name
	f, err := client.As[api.Function](o, nil)
	if err != nil {
		return err
	}
	target := api.TrafficTarget{Latest: true, Percent: 100}
	if to != "latest" {
		if target, err = a.rollbackTarget(ctx, c, f, to); err != nil {
			return err
		}
	}
	traffic := []api.TrafficTarget{target}
	for _, x := range f.Spec.Traffic {
		if x.Tag != "" {
			x.Percent = 0
			traffic = append(traffic, x)
		}
	}
	if target.Latest && len(traffic) == 1 {
		traffic = nil // as if it had never been
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"traffic": traffic}})
	if err != nil {
		return err
	}
	if o, err = c.Patch(ctx, kd, name, patch, client.WriteOptions{}); err != nil {
		return err
	}
	f, err = a.awaitTraffic(ctx, c, o, target)
	if err != nil {
		return err
	}
	p.done()
	if a.machine() || a.output == "name" {
		if o, err = c.Get(ctx, kd, name); err != nil {
			return err
		}
		return a.showObjects([]client.Object{o}, true)
	}
	if target.Latest {
		a.say("%s %s follows its newest revision again: %s", a.paint.good("✓"), ref(o), served(f.Status.Traffic, f.Status.LatestReadyRevision))
		return nil
	}
	a.say("%s %s: all requests go to %s", a.paint.good("✓"), ref(o), revisionText(target.Revision))
	a.say("  deployments get none until: hearth rollback %s --to latest", name)
	return nil
}

// rollbackTarget finds the revision to go back to.
func (a *app) rollbackTarget(ctx context.Context, c *client.Client, f *api.Function, to string) (api.TrafficTarget, error) {
	name := f.Metadata.Name
	l, err := c.List(ctx, mustKind("revision"), client.ListOptions{Labels: api.LabelFunction + "=" + name})
	if err != nil {
		return api.TrafficTarget{}, err
	}
	var all []*api.Revision
	for _, item := range l.Items {
		r, err := client.As[api.Revision](item, nil)
		if err != nil {
			return api.TrafficTarget{}, err
		}
		all = append(all, r)
	}
	want := to
	if isNumber(to) {
		want = name + "@" + to
	}
	var list []candidate
	for _, r := range all {
		list = append(list, candidate{r.Metadata.Name, r.Spec.Number, r.Status.Conditions.Ready()})
	}
	found, err := choose(name, serving(f), objectName(strings.TrimPrefix(want, "revision/")), list)
	return api.TrafficTarget{Revision: found, Percent: 100}, err
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// candidate is a revision that may get the requests.
type candidate struct {
	name   string
	number int64
	works  bool
}

// choose finds the revision to go back to: the one that is wanted, or the newest
// that works before the one that serves, which is the newest of those in serving.
func choose(name string, serving []string, want string, all []candidate) (string, error) {
	slices.SortFunc(all, func(x, y candidate) int { return cmp.Compare(y.number, x.number) })
	number, before := int64(math.MaxInt64), strings.Join(serving, ", ")
	var names []string
	for _, r := range all {
		names = append(names, revisionText(r.name))
		if number == math.MaxInt64 && slices.Contains(serving, r.name) {
			number, before = r.number, r.name
		}
	}
	for _, r := range all {
		switch {
		case want == "" && r.number < number && r.works, want != "" && r.name == want && r.works:
			return r.name, nil
		case r.name == want:
			return "", api.Errorf(api.CodeNotReady, "%s does not work, so no request is sent to it", revisionText(want)).
				WithHint("hearth describe %s says why", revisionRef(want))
		}
	}
	if want == "" {
		return "", api.Errorf(api.CodeNotFound, "%s has no working revision before %s", name, revisionText(before)).
			WithHint("it has %s", cmp.Or(strings.Join(names, ", "), "none"))
	}
	return "", api.Errorf(api.CodeNotFound, "%s has no revision %s", name, revisionText(want)).WithHint("it has %s", cmp.Or(strings.Join(names, ", "), "none"))
}

// revisionRef names a revision for describe: one of a service has a group.
func revisionRef(name string) string {
	if t := revisionText(name); t != name {
		return "revision/" + t
	}
	return "revisions.serving.knative.dev/" + name
}

// rollbackOf gets the function or service a user means.
func (a *app) rollbackOf(ctx context.Context, c *client.Client, t target, word string) (client.Object, error) {
	if strings.Contains(word, "/") {
		o, err := a.find(ctx, c, t, word)
		if err == nil && o.Kind.Kind != "Function" && o.Kind.Resource() != mustKind("ksvc").Resource() {
			return o, usage("%s has no revisions to go back to", ref(o)).WithHint("hearth rollback NAME, of a function or service")
		}
		return o, err
	}
	o, err := c.Get(ctx, mustKind("function"), word)
	if !api.IsCode(err, api.CodeNotFound) {
		return o, err
	}
	if o, err := c.Get(ctx, mustKind("ksvc"), word); !api.IsCode(err, api.CodeNotFound) {
		return o, err
	}
	return o, a.notFound(ctx, c, t, mustKind("function"), word, "no such function")
}

// serving are the revisions one of which a rollback undoes: the one being rolled
// out, else those that get most.
func serving(f *api.Function) []string {
	if r := f.Status.Rollout; r != nil && r.Phase == api.RolloutProgressing {
		return []string{r.To}
	}
	m := mostly{all: []string{f.Status.LatestReadyRevision}}
	for _, t := range f.Status.Traffic {
		m.add(t.Revision, t.Percent)
	}
	return m.all
}

// mostly collects the revisions with the largest share.
type mostly struct {
	percent int
	all     []string
}

func (m *mostly) add(revision string, percent int) {
	switch {
	case percent > m.percent:
		m.percent, m.all = percent, []string{revision}
	case percent == m.percent && percent > 0:
		m.all = append(m.all, revision)
	}
}

// awaitTraffic returns when the status says that the traffic goes where it was
// sent.
func (a *app) awaitTraffic(ctx context.Context, c *client.Client, o client.Object, target api.TrafficTarget) (*api.Function, error) {
	limited, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	began := time.Now()
	for {
		f, err := client.As[api.Function](o, nil)
		if err != nil {
			return nil, err
		}
		s := f.Status
		arrived := slices.ContainsFunc(s.Traffic, func(t api.TrafficShare) bool { return t.Revision == target.Revision && t.Percent == 100 })
		if target.Latest {
			arrived = len(s.Traffic) == 0 || slices.ContainsFunc(s.Traffic, func(t api.TrafficShare) bool { return t.Latest && t.Percent > 0 })
		}
		if arrived {
			return f, nil
		}
		if err := a.nextChange(limited, c, o, false, began); err != nil {
			return nil, err
		}
		if limited.Err() != nil {
			return nil, api.Errorf(api.CodeNotReady, "%s does not send its requests there yet", ref(o)).WithHint("hearth describe %s says what it waits for", ref(o))
		}
		if o, err = c.Get(ctx, o.Kind, o.Meta.Name); err != nil {
			return nil, err
		}
	}
}

// partial says, after a deployment, that the new revision does not get all
// requests; empty when it does.
func partial(o client.Object) string {
	var f api.Function
	if o.Into(&f) != nil {
		return ""
	}
	s := f.Status
	if r := s.Rollout; r != nil && r.Phase == api.RolloutProgressing {
		return "it gets its requests step by step: hearth describe " + o.Meta.Name + " shows how far it is"
	}
	for _, t := range s.Traffic {
		if t.Percent == 100 && !t.Latest {
			return "all requests stay with " + revisionText(t.Revision) + ": hearth rollback " + o.Meta.Name + " --to latest releases them"
		}
	}
	return ""
}
