package api

import (
	"slices"
	"strings"
)

// FieldRef is a fact about the instance a container runs in.
type FieldRef struct {
	APIVersion string `json:"apiVersion,omitempty" enum:"v1"`
	FieldPath  string `json:"fieldPath" doc:"metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'] or metadata.annotations['KEY']; in a variable also spec.nodeName, spec.serviceAccountName, status.hostIP and status.podIP; in a volume also metadata.labels and metadata.annotations."`
}

// Key splits a path such as metadata.labels['app'] into metadata.labels and app;
// ok is false where p is none of what FieldRef lists.
func (f *FieldRef) Key() (path, key string, ok bool) {
	path, key, ok = strings.Cut(f.FieldPath, "['")
	if ok {
		key, ok = strings.CutSuffix(key, "']")
		return path, key, ok && key != "" && (path == "metadata.labels" || path == "metadata.annotations")
	}
	known := []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations",
		"spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	return path, "", slices.Contains(known, path)
}

// InVolume says why f cannot be a file; empty where it can.
func (f *FieldRef) InVolume() string {
	path, _, ok := f.Key()
	if !ok || !strings.HasPrefix(path, "metadata.") {
		return "a file shows metadata.name, metadata.namespace, metadata.uid, metadata.labels or metadata.annotations, such as metadata.labels['app']"
	}
	return ""
}

// InEnv says why f cannot be a variable; empty where it can.
func (f *FieldRef) InEnv() string {
	path, key, ok := f.Key()
	if !ok || key == "" && (path == "metadata.labels" || path == "metadata.annotations") {
		return "a variable shows metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY'], spec.nodeName, spec.serviceAccountName, status.hostIP or status.podIP"
	}
	return ""
}

// ResourceFieldRef is a limit or a request of a container, as a number.
type ResourceFieldRef struct {
	ContainerName string   `json:"containerName,omitempty" doc:"The container itself when empty; needed in a volume."`
	Resource      string   `json:"resource" enum:"limits.cpu,limits.memory,limits.ephemeral-storage,requests.cpu,requests.memory,requests.ephemeral-storage" doc:"A limit that is not set is what the machine has."`
	Divisor       Quantity `json:"divisor,omitempty" doc:"The unit, such as 1m or 1Mi; the number is rounded up. 1 when empty."`
}

// DownwardAPI shows facts about the instance as files.
type DownwardAPI struct {
	Items []DownwardAPIFile `json:"items,omitempty"`
}

// DownwardAPIFile is one of these files; it has a fieldRef or a resourceFieldRef.
type DownwardAPIFile struct {
	Path             string            `json:"path"`
	FieldRef         *FieldRef         `json:"fieldRef,omitempty"`
	ResourceFieldRef *ResourceFieldRef `json:"resourceFieldRef,omitempty"`
	Mode             *int              `json:"mode,omitempty" min:"0" max:"511"`
}

// Bounds of ServiceAccountToken.ExpirationSeconds.
const (
	DefaultTokenSeconds = 3600
	MinTokenSeconds     = 600
)

// ServiceAccountToken shows a token of the revision's service account as a file.
// It is made anew before it expires.
type ServiceAccountToken struct {
	Audience          string `json:"audience,omitempty" doc:"Whom the token is for; this API when empty, which accepts no other."`
	ExpirationSeconds *int64 `json:"expirationSeconds,omitempty" min:"600" doc:"How long a token is valid; 3600 by default."`
	Path              string `json:"path"`
}
