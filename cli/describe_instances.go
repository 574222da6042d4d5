package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// scaled is what the server tells of a revision's instances.
type scaled struct {
	Tenant, Function, Revision                 string
	Instances, Busy, Queued, Starting, Resting int
	Error, Metric                              string
	Used, Target                               float64
}

// scaled asks for the revisions of o that have instances or had calls; none where
// the server does not tell this caller.
func (a *app) scaled(ctx context.Context, c *client.Client, o client.Object) (list []scaled) {
	data, err := c.Status(ctx)
	if err != nil {
		return nil
	}
	var status struct{ Scale []scaled }
	if json.Unmarshal(data, &status) != nil {
		return nil
	}
	for _, s := range status.Scale {
		of := s.Function
		if o.Kind.Kind == "Revision" {
			of = s.Revision
		}
		if s.Tenant == o.Meta.Namespace && of == o.Meta.Name {
			list = append(list, s)
		}
	}
	return list
}

// stuck says why a revision that was ready cannot start an instance now; empty
// when it can.
func stuck(list []scaled, revision string) string {
	for _, s := range list {
		if s.Revision == revision && s.Error != "" && s.Instances == 0 {
			return first(s.Error)
		}
	}
	return ""
}

// describeInstances lists what runs of each revision.
func describeInstances(b *strings.Builder, list []scaled) {
	title := "\ninstances:\n"
	for _, s := range list {
		if s.Instances+s.Starting+s.Queued == 0 {
			continue
		}
		words := []string{fmt.Sprintf("%d for calls", s.Instances-s.Resting)}
		for _, x := range []struct {
			n    int
			what string
		}{{s.Resting, "not ready now"}, {s.Starting, "starting"}} {
			if x.n > 0 {
				words = append(words, fmt.Sprintf("%d %s", x.n, x.what))
			}
		}
		if s.Busy > 0 {
			words = append(words, count(s.Busy, "call")+" in flight")
		}
		if s.Queued > 0 {
			words = append(words, count(s.Queued, "call")+" waiting")
		}
		switch s.Metric {
		case api.MetricCPU:
			words = append(words, fmt.Sprintf("each uses %.2g processors of the %.2g meant", s.Used, s.Target))
		case api.MetricMemory:
			words = append(words, fmt.Sprintf("each uses %.3g MiB of the %.3g meant", s.Used/(1<<20), s.Target/(1<<20)))
		}
		fmt.Fprintf(b, "%s  %-16s %s\n", title, revisionText(s.Revision), strings.Join(words, ", "))
		title = ""
	}
}
