package knative

import (
	"fmt"
	"strings"

	"github.com/hearth-run/hearth/api"
)

const trafficExample = "such as [{latestRevision: true, percent: 90}, {revisionName: hello-00001, percent: 10, tag: old}]"

// targets checks how traffic is shared. A Service has one Configuration, which
// its targets do not name.
func (c *checker) targets(list []Target, service bool) {
	const at = "spec.traffic"
	first := map[string]int{}
	var sum int64
	for i, t := range list {
		path := fmt.Sprintf("%s[%d]", at, i)
		c.target(path, t, service)
		if t.Percent != nil {
			sum += *t.Percent
		}
		if t.Tag == "" {
			continue
		}
		if why := no1035(t.Tag); why != "" {
			c.invalid("not a DNS 1035 label: "+why, fmt.Sprintf("%s.tag[%d]", at, i), "lower-case letters, digits and hyphens, such as canary")
		}
		if j, ok := first[t.Tag]; ok {
			c.add(fmt.Sprintf("Multiple definitions for %q", t.Tag), "give each target a tag of its own", path+".tag", fmt.Sprintf("%s[%d].tag", at, j))
			continue
		}
		first[t.Tag] = i
	}
	if sum != 100 {
		c.add(fmt.Sprintf("Traffic targets sum to %d, want 100", sum), trafficExample, at)
	}
}

func (c *checker) target(at string, t Target, service bool) {
	if t.LatestRevision != nil && *t.LatestRevision == (t.RevisionName != "") {
		c.add(fmt.Sprintf("may not set revisionName %q when latestRevision is %t", t.RevisionName, *t.LatestRevision),
			"a target has either latestRevision: true or a revisionName; "+trafficExample, at+".latestRevision")
	}
	for _, n := range []struct{ field, value string }{{"revisionName", t.RevisionName}, {"configurationName", t.ConfigurationName}} {
		if n.value != "" && !isQualified(n.value) && !(service && n.field == "configurationName") {
			c.add(fmt.Sprintf("invalid key name %q", n.value), "such as hello-00001", at+"."+n.field)
			c.errors[len(c.errors)-1].details = saysQualified
		}
	}
	switch {
	case service && t.ConfigurationName != "":
		c.disallowed("leave it out; a Service has one Configuration", at+".configurationName")
	case !service:
		var got []string
		if t.RevisionName != "" {
			got = append(got, "revisionName")
		}
		if t.ConfigurationName != "" {
			got = append(got, "configurationName")
		}
		c.exactlyOne(at, got, []string{"revisionName", "configurationName"}, "such as [{configurationName: hello, percent: 100}]")
	}
	if t.Percent != nil && (*t.Percent < 0 || *t.Percent > 100) {
		c.outside(*t.Percent, 0, 100, at+".percent", "0 to 100; all together 100")
	}
	if t.URL != "" {
		c.disallowed("leave it out; status.traffic says it", at+".url")
	}
}

func checkDomain(c *checker, d, old *DomainMapping) {
	m := d.Metadata
	if m.GenerateName != "" {
		c.disallowed("the name is the host: name: shop.example.com", "metadata.generateName")
	}
	host := "a host with at least one dot, such as shop.example.com"
	switch why := noHost(m.Name); {
	case why != "":
		c.add(fmt.Sprintf("invalid name %q: name: %s", m.Name, why), host, "metadata.name")
	case strings.HasSuffix(m.Name, "."+c.ClusterDomain):
		c.add(fmt.Sprintf("invalid name %q: must not be a subdomain of cluster local domain %q", m.Name, c.ClusterDomain), host, "metadata.name")
	}
	if old != nil {
		c.author(m, old.Metadata)
	}
	ref, example := d.Spec.Ref, "such as ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}"
	for _, f := range []struct{ name, value string }{{"name", ref.Name}, {"apiVersion", ref.APIVersion}, {"kind", ref.Kind}} {
		if f.value == "" {
			c.missing(example, "spec.ref."+f.name)
		}
	}
	if ref.Group != "" {
		c.disallowed("write apiVersion; "+example, "spec.ref.group")
	}
	if ref.Namespace != "" && m.Namespace != "" && ref.Namespace != m.Namespace {
		c.add("mismatched namespaces", "leave it out; a host is mapped to something in its own namespace", "spec.ref.namespace")
		c.errors[len(c.errors)-1].details = fmt.Sprintf("parent namespace: %q does not match ref: %q", m.Namespace, ref.Namespace)
	}
}

// noHost says why name is no full host name, or "".
func noHost(name string) string {
	plain := strings.TrimSuffix(name, ".")
	switch {
	case name == "":
		return "Required value"
	case api.CheckSubdomain(plain) != "":
		return fmt.Sprintf("Invalid value: %q: %s", name, saysSubdomain)
	case !strings.Contains(plain, "."):
		return fmt.Sprintf("Invalid value: %q: should be a domain with at least two segments separated by dots", name)
	}
	return ""
}

func checkClaim(c *checker, d, _ *DomainClaim) {
	if noHost(d.Metadata.Name) != "" {
		c.invalid(d.Metadata.Name, "metadata.name", "the host, such as shop.example.com")
	}
	if d.Spec.Namespace == "" {
		c.missing("the namespace whose DomainMapping may have the host", "spec.namespace")
	}
}
