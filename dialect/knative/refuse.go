package knative

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// refuser writes what the schema finds in the words of Kubernetes (fields there
// are not) and Knative (fields that are not allowed, values).
func refuser(k api.Kind) func(string, []api.FieldError) error {
	return func(_ string, errs []api.FieldError) error {
		var f faults
		var strict []string
		hint := ""
		for _, e := range errs {
			switch e.Rule {
			case api.RuleUnknown:
				if why, ok := kept(e.Path); ok {
					f.add(why, hintFor(e.Path), e.Path)
					continue
				}
				strict = append(strict, fmt.Sprintf("unknown field %q", e.Path))
			case api.RuleTwice:
				strict = append(strict, fmt.Sprintf("duplicate field %q", e.Path))
			case api.RuleNeeded:
				f.missing(example(e), e.Path)
			case api.RuleEnum:
				f.invalid(e.Value, e.Path, "one of "+strings.TrimPrefix(e.Allowed, ", "))
			case api.RuleBounds:
				least, most, _ := strings.Cut(e.Allowed, "..")
				if most == "" {
					most = fmt.Sprint(math.MaxInt32)
				}
				f.outside(e.Value, least, most, e.Path, "a whole number in these bounds")
			default:
				f.add(e.Message, example(e), e.Path)
			}
			if hint == "" {
				hint = e.Hint
			}
		}
		if len(strict) == 0 {
			return f.err()
		}
		e := api.Errorf(api.CodeUsage, "%s in version %q cannot be handled as a %s: strict decoding error: %s", k.Kind, k.Version, k.Kind, strings.Join(strict, ", "))
		if hint != "" {
			e.Message += "\nhint: " + hint
		}
		e.Fields, e.Hint = errs, hint
		return e
	}
}

// example is what a field may look like, or the error's own hint.
func example(e api.FieldError) string {
	switch e.Path[strings.LastIndexByte(e.Path, '.')+1:] {
	case "image":
		return "such as image: registry.example.com/hello:1.0"
	case "name":
		return "such as name: hello"
	case "mountPath":
		return "an absolute path, such as mountPath: /data"
	case "ref":
		return "such as ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}"
	case "metadata":
		return "such as metadata: {name: hello}"
	}
	switch {
	case e.Rule == api.RuleType && strings.Contains(e.Message, "a string, not"):
		return "put it in quotes"
	case e.Rule == api.RuleType && strings.Contains(e.Message, "a whole number, not"):
		return "a number without quotes, such as 3"
	case e.Hint != "":
		return e.Hint
	}
	return "kubectl explain shows what is meant"
}

// kept says why a field that Kubernetes has, and Knative does not allow, is
// refused; ok is false for fields that are simply unknown.
func kept(path string) (why string, ok bool) {
	last := path[strings.LastIndexByte(path, '.')+1:]
	in := func(part string) bool { return strings.Contains(path, "."+part) }
	volume := in("volumes[") && strings.Count(path[strings.Index(path, ".volumes["):], ".") == 2
	switch last {
	case "persistentVolumeClaim":
		return "Persistent volume claim support is disabled, but found persistent volume claim", volume
	case "hostPath":
		return "HostPath volume support is disabled, but found HostPath volume", volume
	case "csi":
		return "CSI volume support is disabled, but found CSI volume", volume
	case "ephemeral":
		return "Ephemeral volume support is disabled, but found Ephemeral volume", volume
	case "image":
		return "Image volume support is disabled, but found Image volume", volume
	case "mountPropagation":
		return "Volume Mount Propagation support is disabled, but found volume mount with mount propagation", in("volumeMounts[")
	}
	const no = "must not set the field(s)"
	pod := []string{
		"restartPolicy", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "nodeName", "hostname", "subdomain", "priority", "readinessGates",
		"ephemeralContainers", "serviceAccount", "preemptionPolicy", "overhead", "setHostnameAsFQDN", "os", "hostUsers", "schedulingGates", "resourceClaims", "resources", "hostnameOverride",
	}
	container := []string{
		"lifecycle", "stdin", "stdinOnce", "tty", "volumeDevices", "resizePolicy", "restartPolicy", "restartPolicyRules", "hostPort", "hostIP", "fileKeyRef",
		"subPathExpr", "recursiveReadOnly", "seLinuxOptions", "windowsOptions", "procMount", "appArmorProfile", "claims", "terminationGracePeriodSeconds",
	}
	switch {
	case in("containers["), in("initContainers["):
		return no, slices.Contains(container, last)
	case in("volumes["):
		return no, slices.Contains([]string{
			"serviceAccountToken", "downwardAPI", "clusterTrustBundle", "podCertificate", "nfs", "iscsi", "gitRepo", "cephfs", "rbd", "glusterfs", "fc", "flexVolume",
			"awsElasticBlockStore", "gcePersistentDisk", "azureDisk", "azureFile", "cinder", "flocker", "photonPersistentDisk", "portworxVolume", "quobyte", "scaleIO", "storageos", "vsphereVolume",
		}, last)
	case in("securityContext."):
		return no, slices.Contains([]string{"seLinuxOptions", "windowsOptions", "sysctls", "fsGroupChangePolicy", "supplementalGroupsPolicy", "appArmorProfile", "seLinuxChangePolicy"}, last)
	}
	return no, strings.HasSuffix(path, "spec."+last) && slices.Contains(pod, last)
}

// hintFor says what to do instead of a field that is refused.
func hintFor(path string) string {
	switch path[strings.LastIndexByte(path, '.')+1:] {
	case "serviceAccountToken", "downwardAPI":
		return "write it as a source of a projected volume"
	case "persistentVolumeClaim", "hostPath", "csi", "ephemeral", "image":
		return "use emptyDir, secret, configMap or projected, such as emptyDir: {}"
	case "hostPort", "hostIP":
		return "leave it out; requests reach the container's port through the gateway"
	case "terminationGracePeriodSeconds":
		return "leave it out; an instance has spec.timeoutSeconds to end, such as timeoutSeconds: 60"
	case "lifecycle":
		return "leave it out; end on SIGTERM"
	case "serviceAccount":
		return "write serviceAccountName"
	}
	return "leave it out"
}
