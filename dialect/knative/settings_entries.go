package knative

import (
	"math"
	"net/url"
	"strings"
	"text/template"
	"time"

	"github.com/hearth-run/hearth/api"
)

// entries lists what a ConfigMap may say.
func entries(config string) []entry {
	switch config {
	case configDefaults:
		return defaultsEntries()
	case configAutoscaler:
		return autoscalerEntries()
	case configFeatures:
		return featureEntries()
	case configNetwork:
		return networkEntries()
	case configDeployment:
		return deploymentEntries()
	case configGC:
		return gcEntries()
	case configObservability:
		return observabilityEntries()
	}
	return nil
}

func defaultsEntries() []entry {
	out := []entry{
		whole("revision-timeout-seconds", 1, math.MaxInt32, "300", func(s *Settings) *int64 { return &s.TimeoutSeconds }),
		whole("max-revision-timeout-seconds", 1, math.MaxInt32, "600", func(s *Settings) *int64 { return &s.MaxTimeoutSeconds }),
		whole("revision-response-start-timeout-seconds", 0, math.MaxInt32, "300", func(s *Settings) *int64 { return &s.ResponseStartTimeoutSeconds }),
		whole("revision-idle-timeout-seconds", 0, math.MaxInt32, "0", func(s *Settings) *int64 { return &s.IdleTimeoutSeconds }),
		whole("container-concurrency", 0, math.MaxInt32, "0", func(s *Settings) *int64 { return &s.Concurrency }),
		whole("container-concurrency-max-limit", 1, math.MaxInt32, "1000", func(s *Settings) *int64 { return &s.MaxConcurrency }),
		truth("allow-container-concurrency-zero", func(s *Settings) *bool { return &s.ZeroConcurrency }),
		word("enable-service-links", []string{"true", "false", "default"}, func(s *Settings, v string) {
			s.ServiceLinks = map[string]*bool{"true": ptr(true), "false": ptr(false)}[v]
		}),
		nameTemplate("container-name-template", "user-container", func(s *Settings) **template.Template { return &s.names }),
		nameTemplate("init-container-name-template", "init-container", func(s *Settings) **template.Template { return &s.initNames }),
	}
	for _, r := range []struct{ name, example string }{{"cpu", "100m"}, {"memory", "128Mi"}, {"ephemeral-storage", "500Mi"}} {
		for _, list := range []string{"requests", "limits"} {
			out = append(out, entry{"revision-" + r.name + "-" + strings.TrimSuffix(list, "s"), "a quantity, such as " + r.example, func(s *Settings, v string) bool {
				if n, err := api.Quantity(v).Milli(); err != nil || n < 0 || v == "" {
					return false
				}
				if s.Resources[list] == nil {
					s.Resources[list] = map[string]string{}
				}
				s.Resources[list][r.name] = v
				return true
			}})
		}
	}
	return out
}

// named is what templates of container names see of the object around.
type named struct {
	Name, Namespace     string
	Labels, Annotations map[string]any
}

// nameTemplate is a template of a container's name.
func nameTemplate(name, example string, to func(*Settings) **template.Template) entry {
	return entry{name, "a name or template of one, such as " + example + " or {{.Name}}", func(s *Settings, v string) bool {
		t, err := template.New(name).Parse(v)
		if err != nil || render(t, named{Name: "shop", Namespace: "default"}) == "" {
			return false
		}
		*to(s) = t
		return true
	}}
}

func render(t *template.Template, data any) string {
	var b strings.Builder
	if t.Execute(&b, data) != nil {
		return ""
	}
	return b.String()
}

func autoscalerEntries() []entry {
	var unused time.Duration // the autoscaler reads its settings itself
	drop := func(*Settings) *time.Duration { return &unused }
	var none int64
	count := func(name, example string) entry {
		return whole(name, 0, math.MaxInt32, example, func(*Settings) *int64 { return &none })
	}
	over := func(least float64) func(float64) bool { return func(f float64) bool { return f > least } }
	from := func(least, most float64) func(float64) bool {
		return func(f float64) bool { return f >= least && f <= most }
	}
	flag := false
	return append([]entry{
		word("pod-autoscaler-class", []string{classKPA, classHPA}, func(s *Settings, v string) { s.Class = v }),
		truth("enable-scale-to-zero", func(*Settings) *bool { return &flag }),
		truth("allow-zero-initial-scale", func(s *Settings) *bool { return &s.ZeroInitialScale }),
		count("initial-scale", "1"), count("min-scale", "0"), count("max-scale", "0"),
		whole("max-scale-limit", 0, math.MaxInt32, "100", func(s *Settings) *int64 { return &s.MaxScaleLimit }),
		decimal("max-scale-up-rate", `a number over 1, such as "1000"`, over(1)),
		decimal("max-scale-down-rate", `a number over 1, such as "2"`, over(1)),
		decimal("container-concurrency-target-percentage", `percent over 0 to 100, such as "70"; up to 1 it is a fraction`, func(f float64) bool { return f > 0 && f <= 100 }),
		decimal("container-concurrency-target-default", `a number of 0.01 or more, such as "100"`, from(0.01, math.MaxInt32)),
		decimal("requests-per-second-target-default", `a number of 0.01 or more, such as "200"`, from(0.01, math.MaxInt32)),
		decimal("target-burst-capacity", `"-1" for any number, or 0 and more, such as "211"`, func(f float64) bool { return f == -1 || f >= 0 }),
		decimal("panic-window-percentage", `percent from 1 to 100, such as "10"`, from(1, 100)),
		decimal("panic-threshold-percentage", `percent from 110 to 1000, such as "200"`, from(110, 1000)),
		length("stable-window", 6*time.Second, time.Hour, time.Second, "60s", drop),
		length("scale-down-delay", 0, time.Hour, time.Second, "0s", drop),
		length("scale-to-zero-grace-period", time.Millisecond, time.Hour, 0, "30s", drop),
		length("scale-to-zero-pod-retention-period", 0, time.Hour, 0, "0s", drop),
	}, idle("one gateway answers for all instances", "activator-capacity")...)
}

func featureEntries() []entry {
	states := []string{"enabled", "allowed", "disabled"}
	flag := func(f Feature) entry {
		return word(string(f), states, func(s *Settings, v string) { s.features[f] = v != "disabled" })
	}
	out := []entry{
		word("secure-pod-defaults", []string{"disabled", "AllowRootBounded", "enabled"}, func(s *Settings, v string) { s.securePods = v }),
		word("tag-header-based-routing", states, func(s *Settings, v string) { s.tagHeader = v }),
	}
	for _, f := range []Feature{
		MultiContainer, SidecarProbes, InitContainers, EmptyDir, FieldRef, AddCapabilities, Affinity, TopologySpread, HostAliases, NodeSelector, RuntimeClass, Tolerations,
		PodSecurity, ShareProcessNamespace, PriorityClass, Scheduler, DNSPolicy, DNSConfig, HostIPC, HostPID, HostNetwork,
	} {
		out = append(out, flag(f))
	}
	out = append(out, idle("such volumes are refused; use emptyDir, secret, configMap or projected",
		"kubernetes.podspec-persistent-volume-claim", "kubernetes.podspec-persistent-volume-write", "kubernetes.podspec-volumes-hostpath", "kubernetes.podspec-volumes-csi",
		"kubernetes.podspec-volumes-ephemeral", "kubernetes.podspec-volumes-image", "kubernetes.podspec-volumes-mount-propagation")...)
	out = append(out, idle("there is no proxy beside the container", "queueproxy.mount-podinfo", "queueproxy.resource-defaults")...)
	return append(out, idle("a port's name says its protocol: h2c, or http1", "autodetect-http2")...)
}

func networkEntries() []entry {
	host := func(name, allowed string, sample map[string]any, fits func(string) bool, to func(*Settings) **template.Template) entry {
		return entry{name, allowed, func(s *Settings, v string) bool {
			t, err := template.New(name).Parse(v)
			if err != nil || !fits(render(t, sample)) {
				return false
			}
			*to(s) = t
			return true
		}}
	}
	out := []entry{
		host("domain-template", "a template of a host, such as {{.Name}}.{{.Namespace}}.{{.Domain}}",
			map[string]any{"Name": "foo", "Namespace": "bar", "Domain": "baz.com", "Annotations": map[string]string{}, "Labels": map[string]string{}},
			func(h string) bool { return api.CheckSubdomain(h) == "" }, func(s *Settings) **template.Template { return &s.host }),
		host("tag-template", "a template of the first part of a tag's host, such as {{.Tag}}-{{.Name}}", map[string]any{"Name": "foo", "Tag": "v2"},
			func(h string) bool { return api.CheckSubdomain(h) == "" }, func(s *Settings) **template.Template { return &s.tag }),
		{"rollout-duration", `whole seconds from 0, such as "120"`, func(s *Settings, v string) bool {
			d, err := time.ParseDuration(v + "s")
			if err != nil || d < 0 || d.Truncate(time.Second) != d {
				return false
			}
			s.rollout = d
			return true
		}},
		truth("autocreate-cluster-domain-claims", func(s *Settings) *bool { return &s.autoClaim }),
		word("http-protocol", []string{"enabled", "disabled", "redirected"}, func(s *Settings, v string) { s.redirect = v != "enabled" }),
		word("external-domain-tls", []string{"enabled", "disabled"}, func(s *Settings, v string) { s.autoTLS = v == "enabled" }),
		word("default-external-scheme", []string{"http", "https"}, func(s *Settings, v string) { s.https = v == "https" }),
	}
	out = append(out, idle("the gateway of hearth is the only ingress", "ingress-class", "ingress.class", "enable-mesh-pod-addressability", "mesh-compatibility-mode")...)
	return append(out, idle("the gateway has the certificates that hearth up was given, those of DomainMappings, and with external-domain-tls those of a certificate authority", "certificate-class", "certificate.class", "auto-tls", "autoTLS",
		"namespace-wildcard-cert-selector", "cluster-local-domain-tls", "system-internal-tls", "internal-encryption")...)
}

func deploymentEntries() []entry {
	out := []entry{
		length("progress-deadline", time.Second, 0, time.Second, "600s", func(s *Settings) *time.Duration { return &s.deadline }),
		length("digest-resolution-timeout", time.Millisecond, 0, 0, "10s", func(s *Settings) *time.Duration { return &s.resolving }),
		{"registries-skipping-tag-resolving", "registries, such as kind.local,ko.local,dev.local", func(s *Settings, v string) bool {
			s.unresolved = strings.Split(strings.ReplaceAll(v, " ", ""), ",")
			return true
		}},
	}
	out = append(out, idle("there is no proxy beside the container", "queue-sidecar-image", "queue-sidecar-cpu-request", "queue-sidecar-cpu-limit",
		"queue-sidecar-memory-request", "queue-sidecar-memory-limit", "queue-sidecar-ephemeral-storage-request", "queue-sidecar-ephemeral-storage-limit",
		"queue-sidecar-token-audiences", "queue-sidecar-rootca", "queue-sidecar-tls-min-version", "queue-sidecar-tls-max-version", "queue-sidecar-tls-cipher-suites", "queue-sidecar-tls-curve-preferences")...)
	return append(out, idle("there is one machine", "default-affinity-type", "runtime-class-name", "pod-is-always-schedulable")...)
}

func gcEntries() []entry {
	age := func(name, example string, to func(*Settings) *time.Duration) entry {
		e := length(name, 0, 0, 0, example, to)
		return entry{name, e.allowed + `, or "disabled"`, func(s *Settings, v string) bool {
			if strings.EqualFold(v, "disabled") {
				*to(s) = disabled
				return true
			}
			return e.read(s, v)
		}}
	}
	count := func(name, example string, to func(*Settings) *int) entry {
		var n int64
		e := whole(name, 0, math.MaxInt32, example, func(*Settings) *int64 { return &n })
		return entry{name, e.allowed + `, or "disabled"`, func(s *Settings, v string) bool {
			if strings.EqualFold(v, "disabled") {
				*to(s) = disabled
				return true
			}
			ok := e.read(s, v)
			*to(s) = int(n)
			return ok
		}}
	}
	return []entry{
		age("retain-since-create-time", "48h", func(s *Settings) *time.Duration { return &s.retention.SinceCreate }),
		age("retain-since-last-active-time", "15h", func(s *Settings) *time.Duration { return &s.retention.SinceActive }),
		count("min-non-active-revisions", "20", func(s *Settings) *int { return &s.retention.MinIdle }),
		count("max-non-active-revisions", "1000", func(s *Settings) *int { return &s.retention.MaxIdle }),
	}
}

func observabilityEntries() []entry {
	out := []entry{{"logging.revision-url-template", "an address, such as http://logs.example.com/?q=${REVISION_UID}", func(s *Settings, v string) bool {
		if _, err := url.Parse(strings.ReplaceAll(v, "${REVISION_UID}", "u")); err != nil {
			return false
		}
		s.logTemplate = v
		return true
	}}}
	return append(out, idle("hearth logs, /metrics and hearth up's own settings say what is recorded", "logging.enable-var-log-collection", "logging.request-log-template", "logging.enable-request-log",
		"logging.enable-probe-request-log", "metrics-protocol", "metrics-endpoint", "metrics-export-interval", "request-metrics-protocol", "request-metrics-endpoint", "request-metrics-export-interval",
		"tracing-protocol", "tracing-endpoint", "tracing-sampling-rate", "runtime-profiling", "runtime-export-interval")...)
}
