package api

// Namespace is a tenant.
type Namespace struct {
	TypeMeta
	Metadata Meta            `json:"metadata"`
	Spec     NamespaceSpec   `json:"spec,omitzero"`
	Status   NamespaceStatus `json:"status,omitzero"`
}

// NamespaceSpec is kept for clients that send it.
type NamespaceSpec struct {
	Finalizers []string `json:"finalizers,omitempty"`
}

// NamespaceStatus says whether the namespace is being deleted.
type NamespaceStatus struct {
	Phase string `json:"phase,omitempty" enum:"Active,Terminating"`
}

// Secret holds confidential values. Its data is sealed at rest and never
// logged.
type Secret struct {
	TypeMeta
	Metadata   Meta              `json:"metadata"`
	Data       map[string][]byte `json:"data,omitempty" doc:"Values in base64."`
	StringData map[string]string `json:"stringData,omitempty" doc:"Values as text; moved into data when written."`
	Type       string            `json:"type,omitempty"`
	Immutable  *bool             `json:"immutable,omitempty"`
}

// ConfigMap holds values that are no secret.
type ConfigMap struct {
	TypeMeta
	Metadata   Meta              `json:"metadata"`
	Data       map[string]string `json:"data,omitempty"`
	BinaryData map[string][]byte `json:"binaryData,omitempty"`
	Immutable  *bool             `json:"immutable,omitempty"`
}

// Event tells people what happened to an object; kubectl describe shows it.
type Event struct {
	TypeMeta
	Metadata            Meta            `json:"metadata"`
	InvolvedObject      ObjectReference `json:"involvedObject"`
	Reason              string          `json:"reason,omitempty"`
	Message             string          `json:"message,omitempty"`
	Type                string          `json:"type,omitempty" doc:"Normal or Warning."`
	Count               int             `json:"count,omitempty"`
	FirstTimestamp      *Time           `json:"firstTimestamp,omitempty"`
	LastTimestamp       *Time           `json:"lastTimestamp,omitempty"`
	EventTime           *Time           `json:"eventTime,omitempty"`
	Source              EventSource     `json:"source,omitzero"`
	Action              string          `json:"action,omitempty"`
	ReportingController string          `json:"reportingComponent,omitempty"`
	ReportingInstance   string          `json:"reportingInstance,omitempty"`
}

// ObjectReference points at any object.
type ObjectReference struct {
	APIVersion      string `json:"apiVersion,omitempty"`
	Kind            string `json:"kind,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name,omitempty"`
	UID             string `json:"uid,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	FieldPath       string `json:"fieldPath,omitempty"`
}

// EventSource names who reported an event.
type EventSource struct {
	Component string `json:"component,omitempty"`
	Host      string `json:"host,omitempty"`
}
