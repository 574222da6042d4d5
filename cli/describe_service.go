package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// foreign puts what the status of a kind of Knative says in other words where
// that of a function has it.
func (s *common) foreign(o client.Object) {
	var k struct {
		Status struct {
			LatestReadyRevisionName string
			Traffic                 []struct {
				RevisionName   string
				LatestRevision bool
				Percent        int
				Tag, URL       string
			}
		}
	}
	if o.Kind.Group == "" || o.Kind.Group == api.Group || json.Unmarshal(o.JSON, &k) != nil {
		return
	}
	s.Status.LatestReadyRevision, s.Status.Traffic = k.Status.LatestReadyRevisionName, nil
	for _, t := range k.Status.Traffic {
		s.Status.Traffic = append(s.Status.Traffic, api.TrafficShare{Revision: t.RevisionName, Percent: t.Percent, Latest: t.LatestRevision, Tag: t.Tag, URL: t.URL})
	}
}

// describeContainers lists the containers of a service or revision: name, image
// and where the one that serves does so.
func describeContainers(b *strings.Builder, o client.Object) {
	type pod struct {
		InitContainers, Containers []api.Container
	}
	var m struct {
		Spec struct {
			pod
			Template struct{ Spec pod }
		}
	}
	if o.Kind.Group == "" || o.Kind.Group == api.Group || json.Unmarshal(o.JSON, &m) != nil {
		return
	}
	p := m.Spec.pod
	if len(p.Containers) == 0 {
		p = m.Spec.Template.Spec
	}
	if len(p.Containers) == 0 {
		return
	}
	b.WriteString("\ncontainers:\n")
	for _, c := range p.InitContainers {
		fmt.Fprintf(b, "  %-16s %s   runs first\n", c.Name, c.Image)
	}
	for _, c := range p.Containers {
		line := fmt.Sprintf("  %-16s %s", c.Name, c.Image)
		for _, port := range c.Ports {
			if port.ContainerPort != 0 {
				line += fmt.Sprintf("   port %d", port.ContainerPort)
			}
			if port.Name != "" {
				line += " " + port.Name
			}
		}
		b.WriteString(line + "\n")
	}
}

// service gets the service of Knative called name, and where it answers.
func (a *app) service(ctx context.Context, c *client.Client, name string) (url string, ok bool) {
	o, err := c.Get(ctx, mustKind("ksvc"), name)
	if err != nil {
		return "", false
	}
	var s common
	if o.Into(&s) != nil {
		return "", true
	}
	return s.Status.URL, true
}
