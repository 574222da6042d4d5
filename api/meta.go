package api

import (
	"strings"
	"time"
)

// Group and Version name the native API: hearth.run/v1.
const (
	Group        = "hearth.run"
	Version      = "v1"
	GroupVersion = Group + "/" + Version
)

// Labels and annotations with a meaning of their own.
const (
	// LabelFunction is put on every revision: the name of its function.
	LabelFunction = "hearth.run/function"
	// LabelRevision is the number of the revision within its function.
	LabelRevision = "hearth.run/revision"
	// AnnotationReserve says ("true") that nothing leads to a revision: its least
	// number of instances is not held, and if it failed it is not tried again.
	AnnotationReserve = "hearth.run/reserve"
	// AnnotationRebuild forces a new build when its value changes.
	AnnotationRebuild = "hearth.run/rebuild"
	// AnnotationRole gives a ServiceAccount the role viewer or editor in its
	// namespace: what its tokens may do at the API. Without it they may nothing.
	AnnotationRole = "hearth.run/role"
)

// DefaultNamespace is the tenant that is meant when none is named.
const DefaultNamespace = "default"

// TypeMeta says which kind an object is.
type TypeMeta struct {
	APIVersion string `json:"apiVersion,omitempty" doc:"Version of the API the object is written in."`
	Kind       string `json:"kind,omitempty" doc:"Kind of the object."`
}

// Meta is the metadata every object carries. Field names and meaning are those
// of Kubernetes resource conventions. The server owns UID, ResourceVersion,
// Generation and both timestamps; what a client sends there is ignored.
type Meta struct {
	Name              string            `json:"name,omitempty" doc:"Name, unique within kind and namespace: a DNS label of at most 63 characters."`
	GenerateName      string            `json:"generateName,omitempty" doc:"Prefix from which the server makes a name when name is empty."`
	Namespace         string            `json:"namespace,omitempty" doc:"Tenant the object belongs to; default when empty."`
	UID               string            `json:"uid,omitempty" doc:"Identity of this one object; a name used again gets a new one."`
	ResourceVersion   string            `json:"resourceVersion,omitempty" doc:"Opaque version; send it back to write only if nothing changed."`
	Generation        int64             `json:"generation,omitempty" doc:"Counts changes of the spec."`
	CreationTimestamp *Time             `json:"creationTimestamp,omitempty" doc:"When the object was made."`
	DeletionTimestamp *Time             `json:"deletionTimestamp,omitempty" doc:"When deletion was asked for; the object goes when finalizers are empty."`
	Labels            map[string]string `json:"labels,omitempty" doc:"Short values that select objects."`
	Annotations       map[string]string `json:"annotations,omitempty" doc:"Values for tools and people; never selected on."`
	Finalizers        []string          `json:"finalizers,omitempty" doc:"Who must agree before the object is removed."`
	OwnerReferences   []OwnerReference  `json:"ownerReferences,omitempty" doc:"Objects this one belongs to; it is deleted with the last of them."`
	ManagedFields     []ManagedFields   `json:"managedFields,omitempty" doc:"Which applier owns which fields; kept by the server."`
}

// OwnerReference names an object that owns another.
type OwnerReference struct {
	APIVersion         string `json:"apiVersion"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	UID                string `json:"uid"`
	Controller         bool   `json:"controller,omitempty"`
	BlockOwnerDeletion bool   `json:"blockOwnerDeletion,omitempty"`
}

// ManagedFields records one applier's fields (server-side apply).
type ManagedFields struct {
	Manager     string         `json:"manager,omitempty"`
	Operation   string         `json:"operation,omitempty"`
	APIVersion  string         `json:"apiVersion,omitempty"`
	Time        *Time          `json:"time,omitempty"`
	FieldsType  string         `json:"fieldsType,omitempty"`
	FieldsV1    map[string]any `json:"fieldsV1,omitempty"`
	Subresource string         `json:"subresource,omitempty"`
}

// Time is a moment written as RFC 3339 in UTC with whole seconds, as
// Kubernetes writes it.
type Time struct{ time.Time }

// NewTime cuts t to whole seconds in UTC.
func NewTime(t time.Time) *Time { return &Time{t.UTC().Truncate(time.Second)} }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(time.RFC3339) + `"`), nil
}

// UnmarshalJSON implements json.Unmarshaler. It accepts fractional seconds.
func (t *Time) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" || s == "" {
		t.Time = time.Time{}
		return nil
	}
	v, err := time.Parse(time.RFC3339Nano, s)
	// A zone at the ends of time leads to a year that cannot be written.
	if y := v.UTC().Year(); err != nil || y < 0 || y > 9999 {
		return Errorf(CodeInvalid, "%q is not a time such as 2026-01-02T15:04:05Z", s)
	}
	t.Time = v
	return nil
}

// Condition types used by Hearth's own kinds.
const (
	// ConditionReady is the verdict: can this be called now?
	ConditionReady = "Ready"
	// ConditionBuilt says whether the newest source became an artifact.
	ConditionBuilt = "Built"
	// ConditionUpdated says whether it is the newest spec that serves.
	ConditionUpdated = "Updated"
	// ConditionIsolated is False when the host lacks a mechanism of the sandbox.
	ConditionIsolated = "Isolated"
	// ConditionAdmitted is False on a route that another route shadows.
	ConditionAdmitted = "Admitted"
	// ConditionRolledOut says whether a function's newest revision gets all of
	// its share.
	ConditionRolledOut = "RolledOut"
	// ConditionTrafficAssigned says whether the revisions a function's traffic
	// names are there.
	ConditionTrafficAssigned = "TrafficAssigned"
)

// Condition is one aspect of an object's state.
type Condition struct {
	Type               string `json:"type" doc:"Aspect, such as Ready."`
	Status             string `json:"status" enum:"True,False,Unknown"`
	Reason             string `json:"reason,omitempty" doc:"One word in CamelCase, for programs."`
	Message            string `json:"message,omitempty" doc:"A sentence for people."`
	Hint               string `json:"hint,omitempty" doc:"What to do about it; often a command."`
	Severity           string `json:"severity,omitempty" enum:"Warning,Info" doc:"How much it counts: empty for the verdict, Warning and Info for people."`
	ObservedGeneration int64  `json:"observedGeneration,omitempty"`
	LastTransitionTime *Time  `json:"lastTransitionTime,omitempty"`
}

// Condition status values.
const (
	True    = "True"
	False   = "False"
	Unknown = "Unknown"
)

// Conditions is the list of an object's conditions, one per type.
type Conditions []Condition

// Get returns the condition of type t, and whether there is one.
func (cs Conditions) Get(t string) (Condition, bool) {
	for _, c := range cs {
		if c.Type == t {
			return c, true
		}
	}
	return Condition{}, false
}

// Ready reports whether the Ready condition is True.
func (cs Conditions) Ready() bool {
	c, ok := cs.Get(ConditionReady)
	return ok && c.Status == True
}

// Set returns the list with c in place of the condition of its type. The
// transition time moves only when the status does.
func (cs Conditions) Set(c Condition, now time.Time) Conditions {
	out := make(Conditions, 0, len(cs)+1)
	c.LastTransitionTime = NewTime(now)
	placed := false
	for _, old := range cs {
		if old.Type != c.Type {
			out = append(out, old)
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		out, placed = append(out, c), true
	}
	if !placed {
		out = append(out, c)
	}
	return out
}
