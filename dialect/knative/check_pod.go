package knative

import (
	"fmt"
	"math"
	"path"
	"reflect"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// revision checks the spec of a revision.
func (c *checker) revision(at string, r RevisionSpec) {
	c.gated(at, r.PodSpec)
	volumes := c.volumes(at, r.PodSpec)
	c.containers(at, r.PodSpec, volumes)
	if n := r.ServiceAccountName; n != "" && api.CheckSubdomain(n) != "" {
		c.invalid(n, at+".serviceAccountName", "such as default", saysSubdomain)
	}
	if t := r.AutomountServiceAccountToken; t != nil && *t {
		c.disallowed("false, or leave it out: there is no cluster whose API the token would open", at+".automountServiceAccountToken")
	}
	if t := r.TimeoutSeconds; t != nil && (*t < 0 || *t > c.MaxTimeoutSeconds) {
		c.outside(*t, 0, c.MaxTimeoutSeconds, at+".timeoutSeconds", fmt.Sprintf("seconds from 1 to %d, such as 60", c.MaxTimeoutSeconds))
	}
	for _, t := range []struct {
		field string
		v     *int64
	}{{"responseStartTimeoutSeconds", r.ResponseStartTimeoutSeconds}, {"idleTimeoutSeconds", r.IdleTimeoutSeconds}} {
		if t.v != nil && *t.v < 0 {
			c.outside(*t.v, 0, c.MaxTimeoutSeconds, at+"."+t.field, "seconds from 0, which is no limit")
		}
	}
	least, hint := int64(0), fmt.Sprintf("0 for no limit, or up to %d", c.MaxConcurrency)
	if !c.ZeroConcurrency {
		least, hint = 1, fmt.Sprintf("from 1 to %d, such as 10; 0 is not allowed here (config-defaults: allow-container-concurrency-zero)", c.MaxConcurrency)
	}
	if n := r.ContainerConcurrency; n != nil && (*n < least || *n > c.MaxConcurrency) {
		c.outside(*n, least, c.MaxConcurrency, at+".containerConcurrency", hint)
	}
}

// gated checks the fields that need a feature.
func (c *checker) gated(at string, p PodSpec) {
	for _, g := range []struct {
		field   string
		given   bool
		feature Feature
	}{
		{"affinity", p.Affinity != nil, Affinity},
		{"topologySpreadConstraints", p.TopologySpreadConstraints != nil, TopologySpread},
		{"hostAliases", p.HostAliases != nil, HostAliases},
		{"nodeSelector", len(p.NodeSelector) > 0, NodeSelector},
		{"runtimeClassName", p.RuntimeClassName != nil, RuntimeClass},
		{"tolerations", p.Tolerations != nil, Tolerations},
		{"shareProcessNamespace", p.ShareProcessNamespace != nil, ShareProcessNamespace},
		{"priorityClassName", p.PriorityClassName != "", PriorityClass},
		{"schedulerName", p.SchedulerName != "", Scheduler},
		{"dnsPolicy", p.DNSPolicy != "", DNSPolicy},
		{"dnsConfig", p.DNSConfig != nil, DNSConfig},
		{"hostIPC", p.HostIPC, HostIPC},
		{"hostPID", p.HostPID, HostPID},
		{"hostNetwork", p.HostNetwork, HostNetwork},
	} {
		switch {
		case g.given && !c.on(g.feature):
			c.disallowed(off(g.feature), at+"."+g.field)
		case g.given:
			c.warn("the field has no effect on one machine without a cluster", at+"."+g.field)
		}
	}
	if s := p.SecurityContext; s != nil && !reflect.DeepEqual(*s, PodSecurityContext{}) {
		if !c.on(PodSecurity) {
			c.disallowed(off(PodSecurity)+"; set it in each container's securityContext", at+".securityContext")
		}
		c.id(at+".securityContext.runAsUser", s.RunAsUser)
		c.id(at+".securityContext.runAsGroup", s.RunAsGroup)
		c.id(at+".securityContext.fsGroup", s.FSGroup)
		for i := range s.SupplementalGroups {
			c.id(fmt.Sprintf("%s.securityContext.supplementalGroups[%d]", at, i), &s.SupplementalGroups[i])
		}
	}
}

func off(f Feature) string {
	return fmt.Sprintf("leave it out; the feature %s is off (config-features in namespace %s)", f, settingsNamespace)
}

// id checks the number of a user or group.
func (c *checker) id(at string, v *int64) {
	if v != nil && (*v < 0 || *v > math.MaxInt32) {
		c.outside(*v, 0, math.MaxInt32, at, "such as 1000")
	}
}

const volumeExample = "such as [{name: data, emptyDir: {}}]"

// volumes checks the volumes and returns them by name.
func (c *checker) volumes(at string, p PodSpec) map[string]api.Volume {
	mounted, out := map[string]bool{}, map[string]api.Volume{}
	for _, list := range [][]api.Container{p.InitContainers, p.Containers} {
		for _, x := range list {
			for _, m := range x.VolumeMounts {
				mounted[m.Name] = true
			}
		}
	}
	for i, v := range p.Volumes {
		path := fmt.Sprintf("%s.volumes[%d]", at, i)
		if _, ok := out[v.Name]; ok {
			c.add(fmt.Sprintf("duplicate volume name %q", v.Name), "give each volume a name of its own", path+".name")
		}
		if !mounted[v.Name] {
			c.add(fmt.Sprintf("volume with name %q not mounted", v.Name), "mount it in a container: volumeMounts: [{name: "+v.Name+", mountPath: /data}]", path+".name")
		}
		if v.Name == "" {
			c.missing(volumeExample, path+".name")
		} else if api.CheckName(v.Name) != "" {
			c.invalid(v.Name, path+".name", "lower-case letters, digits and hyphens, such as data")
		}
		c.volume(path, v)
		out[v.Name] = v
	}
	return out
}

func (c *checker) volume(at string, v api.Volume) {
	var got []string
	if v.Secret != nil {
		got = append(got, "secret")
		c.keys(at, v.Secret.Items)
	}
	if v.ConfigMap != nil {
		got = append(got, "configMap")
		c.keys(at, v.ConfigMap.Items)
	}
	if v.Projected != nil {
		got = append(got, "projected")
		for i, s := range v.Projected.Sources {
			c.projection(fmt.Sprintf("%s.projected[%d]", at, i), s)
		}
	}
	if v.EmptyDir != nil {
		got = append(got, "emptyDir")
		if !c.on(EmptyDir) {
			c.disallowed(off(EmptyDir), at+".emptyDir")
		}
	}
	c.exactlyOne(at, got, []string{"secret", "configMap", "projected", "emptyDir"}, volumeExample)
}

func (c *checker) projection(at string, p api.VolumeProjection) {
	var got []string
	for _, s := range []struct {
		field string
		v     *api.Projection
	}{{"secret", p.Secret}, {"configMap", p.ConfigMap}} {
		if s.v == nil {
			continue
		}
		got = append(got, s.field)
		if s.v.Name == "" {
			c.missing("such as name: settings", at+"."+s.field+".name")
		}
		c.keys(at+"."+s.field, s.v.Items)
	}
	if t := p.ServiceAccountToken; t != nil {
		got = append(got, "serviceAccountToken")
		if t.Path == "" {
			c.missing("such as path: token", at+".serviceAccountToken.path")
		}
	}
	if d := p.DownwardAPI; d != nil {
		got = append(got, "downwardAPI")
		for i, x := range d.Items {
			c.fact(fmt.Sprintf("%s.downwardAPI.items[%d]", at, i), x)
		}
	}
	c.exactlyOne(at, got, []string{"secret", "configMap", "serviceAccountToken", "downwardAPI"}, "such as [{secret: {name: tls}}]")
}

// fact checks a file with a fact about the instance.
func (c *checker) fact(at string, x api.DownwardAPIFile) {
	const example = "such as {path: labels, fieldRef: {fieldPath: metadata.labels}}"
	var got []string
	if x.FieldRef != nil {
		got = append(got, "fieldRef")
	}
	if x.ResourceFieldRef != nil {
		got = append(got, "resourceFieldRef")
	}
	c.exactlyOne(at, got, []string{"fieldRef", "resourceFieldRef"}, example)
	c.fieldPath(at+".fieldRef", x.FieldRef)
	if x.Path == "" {
		c.missing(example, at+".path")
	}
}

func (c *checker) keys(at string, items []api.KeyToPath) {
	for i, k := range items {
		p := fmt.Sprintf("%s.items[%d]", at, i)
		if k.Key == "" {
			c.missing("such as {key: password, path: password}", p+".key")
		}
		if k.Path == "" {
			c.missing("such as {key: password, path: password}", p+".path")
		}
	}
}

// mounts checks where a container sees volumes.
func (c *checker) mounts(at string, mounts []api.VolumeMount, volumes map[string]api.Volume) {
	seen := map[string]bool{}
	for i, m := range mounts {
		p := fmt.Sprintf("%s.volumeMounts[%d]", at, i)
		v, ok := volumes[m.Name]
		if !ok {
			hint := "name one of the volumes"
			if len(volumes) == 0 {
				hint = "add it: volumes: [{name: " + m.Name + ", emptyDir: {}}]"
			}
			c.add("volumeMount has no matching volume", hint, p+".name")
		}
		clean := path.Clean(m.MountPath)
		switch {
		case m.MountPath == "":
			c.missing("an absolute path, such as /data", p+".mountPath")
		case clean == "/" || clean == "/dev" || clean == "/dev/log":
			c.add(fmt.Sprintf("mountPath %q is a reserved path", clean), "a folder of its own, such as /data", p+".mountPath")
		case !path.IsAbs(m.MountPath):
			c.invalid(m.MountPath, p+".mountPath", "an absolute path, such as /data")
		case seen[clean]:
			c.invalid(fmt.Sprintf("%q must be unique", m.MountPath), p+".mountPath", "one volume per path")
		}
		seen[clean] = true
		if ok && v.EmptyDir == nil && !m.ReadOnly {
			c.add("volume mount should be readOnly for this type of volume", "readOnly: true; only an emptyDir can be written", p+".readOnly")
		}
		if strings.HasPrefix(path.Clean("/"+m.SubPath), "/..") || path.IsAbs(m.SubPath) || hasParent(m.SubPath) {
			c.invalid(m.SubPath, p+".subPath", "a relative path inside the volume, such as config/app.yaml")
		}
	}
}

func hasParent(p string) bool {
	for s := range strings.SplitSeq(p, "/") {
		if s == ".." {
			return true
		}
	}
	return false
}
