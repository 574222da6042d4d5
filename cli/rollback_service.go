package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// serviceTarget is a share of the requests of a service of Knative.
type serviceTarget struct {
	RevisionName   string `json:"revisionName,omitempty"`
	LatestRevision bool   `json:"latestRevision"`
	Percent        int    `json:"percent"`
	Tag            string `json:"tag,omitempty"`
}

// ksvc is what a rollback must know of such a service.
type ksvc struct {
	Metadata api.Meta `json:"metadata"`
	Spec     struct {
		Traffic []serviceTarget `json:"traffic"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration      int64           `json:"observedGeneration"`
		LatestReadyRevisionName string          `json:"latestReadyRevisionName"`
		Traffic                 []serviceTarget `json:"traffic"`
	} `json:"status"`
}

// serving are the revisions one of which a rollback undoes: the latest one while
// it is being rolled out, else those that get most.
func (s *ksvc) serving() []string {
	m, followers := mostly{all: []string{s.Status.LatestReadyRevisionName}}, 0
	for _, t := range s.Status.Traffic {
		if t.LatestRevision && t.Percent > 0 {
			followers++
		}
	}
	if followers > 1 {
		return m.all
	}
	for _, t := range s.Status.Traffic {
		m.add(t.RevisionName, t.Percent)
	}
	return m.all
}

// rollbackService sends all requests of a service to an earlier revision, by its
// spec.traffic alone.
func (a *app) rollbackService(ctx context.Context, c *client.Client, p *progress, o client.Object, to string) error {
	var s ksvc
	if err := o.Into(&s); err != nil {
		return err
	}
	goal := serviceTarget{LatestRevision: true, Percent: 100}
	if to != "latest" {
		name, err := a.serviceRevision(ctx, c, &s, to)
		if err != nil {
			return err
		}
		goal = serviceTarget{RevisionName: name, Percent: 100}
	}
	traffic := []serviceTarget{goal}
	for _, t := range s.Spec.Traffic {
		if t.Tag != "" {
			t.Percent = 0
			traffic = append(traffic, t)
		}
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"traffic": traffic}})
	if err != nil {
		return err
	}
	if o, err = c.Patch(ctx, o.Kind, o.Meta.Name, patch, client.WriteOptions{}); err != nil {
		return err
	}
	if o, err = a.awaitService(ctx, c, o, goal); err != nil {
		return err
	}
	p.done()
	if a.machine() || a.output == "name" {
		return a.showObjects([]client.Object{o}, true)
	}
	if err := o.Into(&s); err != nil {
		return err
	}
	if goal.LatestRevision {
		a.say("%s %s follows its newest revision again: %s serves", a.paint.good("✓"), ref(o), s.Status.LatestReadyRevisionName)
		return nil
	}
	a.say("%s %s: all requests go to %s", a.paint.good("✓"), ref(o), goal.RevisionName)
	a.say("  spec.traffic is pinned to it; deployments get none until: hearth rollback %s --to latest", ref(o))
	return nil
}

// serviceRevision finds the revision to go back to.
func (a *app) serviceRevision(ctx context.Context, c *client.Client, s *ksvc, to string) (string, error) {
	kd, err := kind("revisions.serving.knative.dev")
	if err != nil {
		return "", err
	}
	l, err := c.List(ctx, kd, client.ListOptions{Labels: "serving.knative.dev/service=" + s.Metadata.Name})
	if err != nil {
		return "", err
	}
	want := to
	if _, name, ok := strings.Cut(to, "/"); ok {
		want = name
	}
	var all []candidate
	for _, item := range l.Items {
		var r struct {
			Status struct {
				Conditions api.Conditions `json:"conditions"`
			} `json:"status"`
		}
		if err := item.Into(&r); err != nil {
			return "", err
		}
		n, _ := strconv.ParseInt(item.Meta.Labels["serving.knative.dev/configurationGeneration"], 10, 64) // 0: made by hand
		if isNumber(to) && to == strconv.FormatInt(n, 10) {
			want = item.Meta.Name
		}
		all = append(all, candidate{item.Meta.Name, n, r.Status.Conditions.Ready()})
	}
	return choose(s.Metadata.Name, s.serving(), want, all)
}

// awaitService returns when the status says that the requests go where they were
// sent.
func (a *app) awaitService(ctx context.Context, c *client.Client, o client.Object, goal serviceTarget) (client.Object, error) {
	limited, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	generation, began := o.Meta.Generation, time.Now()
	for {
		var s ksvc
		if err := o.Into(&s); err != nil {
			return o, err
		}
		arrived := slices.ContainsFunc(s.Status.Traffic, func(t serviceTarget) bool {
			return t.Percent > 0 && (goal.LatestRevision && t.LatestRevision || t.Percent == 100 && t.RevisionName == goal.RevisionName && !t.LatestRevision)
		})
		if arrived && s.Status.ObservedGeneration >= generation {
			return o, nil
		}
		if err := a.nextChange(limited, c, o, false, began); err != nil {
			return o, err
		}
		if limited.Err() != nil {
			return o, api.Errorf(api.CodeNotReady, "%s does not send its requests there yet", ref(o)).WithHint("hearth describe %s says what it waits for", ref(o))
		}
		fresh, err := c.Get(ctx, o.Kind, o.Meta.Name)
		if err != nil {
			return o, err
		}
		o = fresh
	}
}
