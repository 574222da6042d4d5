package api

import "strings"

// Kind describes one kind of resource: its names, scope, Go type, columns and
// rules. It is all that server, client and command line need to handle the kind
// generically.
type Kind struct {
	Group    string // "" for the core group
	Version  string
	Kind     string
	Plural   string
	Singular string
	Short    []string
	// Categories are words that mean several kinds to get; nil: the group's own.
	Categories []string
	Namespaced bool
	// Status says whether the kind has a status subresource.
	Status bool
	// Columns are shown by get, after NAME and before AGE.
	Columns []Column
	// New returns a pointer to an empty object of the kind's Go type.
	New func() any
	// Validate checks what the schema cannot say; nil checks nothing more.
	Validate func(obj any) []FieldError
	// Admit sets defaults and checks a write with the words of the API the kind
	// belongs to; nil for native kinds. It must be free of side effects.
	Admit func(*Admission) error
	// Refuse writes what the schema found wrong in the words of that API; nil
	// for native kinds.
	Refuse func(name string, errs []FieldError) error
	// Labels tell clients what the kind is for, such as a source of events.
	Labels map[string]string
	// Dotted says that names may be DNS subdomains. Those of the core group may.
	Dotted bool
	// Doc is one sentence about the kind.
	Doc string
}

// Admission is one write as Kind.Admit sees it. Numbers in its objects are int64
// where they are whole, else float64.
type Admission struct {
	Object   map[string]any // what is about to be stored; changed in place
	Old      map[string]any // what is stored, not to be changed; nil for a new object
	User     string         // who writes; empty where that is not known
	Warnings []string       // shown to the writer
}

// Column is a column of a table: a title and the dotted path of its value. A
// path may select a condition: status.conditions[Ready].status.
type Column struct {
	Name string
	Path string
	Type string // string, integer, date; string when empty
	Wide bool   // only with -o wide
}

// APIVersion is group/version as written in manifests.
func (k Kind) APIVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// Resource is the kind's key in a store: plural.group, or the plural alone for
// the core group.
func (k Kind) Resource() string {
	if k.Group == "" {
		return k.Plural
	}
	return k.Plural + "." + k.Group
}

// Answers reports whether name means this kind: its kind, plural, singular or a
// short name, in any case, with or without the group.
func (k Kind) Answers(name string) bool {
	name = strings.ToLower(name)
	if k.Group != "" {
		name = strings.TrimSuffix(name, "."+k.Group)
	}
	if name == k.Plural || name == k.Singular || name == strings.ToLower(k.Kind) {
		return true
	}
	for _, s := range k.Short {
		if name == s {
			return true
		}
	}
	return false
}

// Store keys of the kinds, as Kind.Resource gives them.
const (
	Functions  = "functions." + Group
	Revisions  = "revisions." + Group
	Runtimes   = "runtimes." + Group
	Routes     = "routes." + Group
	Namespaces = "namespaces"
	Secrets    = "secrets"
	ConfigMaps = "configmaps"
	Events     = "events"
)

// Kinds returns every kind Hearth stores, in the order help shows them. The
// slice is the caller's.
func Kinds() []Kind {
	ready := Column{Name: "Ready", Path: "status.conditions[Ready].status"}
	reason := Column{Name: "Reason", Path: "status.conditions[Ready].reason"}
	return []Kind{
		{
			Group: Group, Version: Version, Kind: "Function", Plural: "functions", Singular: "function", Short: []string{"fn"},
			Namespaced: true, Status: true, Doc: "Function is code that answers a call.",
			Columns: []Column{
				{Name: "Runtime", Path: "spec.runtime"}, ready, reason,
				{Name: "Revision", Path: "status.latestReadyRevision"},
				{Name: "URL", Path: "status.url"},
				{Name: "Handler", Path: "spec.handler", Wide: true},
			},
			New: func() any { return new(Function) }, Validate: validateFunction,
		},
		{
			Group: Group, Version: Version, Kind: "Revision", Plural: "revisions", Singular: "revision", Short: []string{"rev"},
			Namespaced: true, Status: true, Doc: "Revision is an immutable version of a function.",
			Columns: []Column{
				{Name: "Function", Path: "spec.function"}, {Name: "Number", Path: "spec.number", Type: "integer"}, ready, reason,
				{Name: "Artifact", Path: "spec.artifact", Wide: true},
			},
			New: func() any { return new(Revision) }, Validate: validateRevision,
		},
		{
			Group: Group, Version: Version, Kind: "Runtime", Plural: "runtimes", Singular: "runtime", Short: []string{"rt"},
			Namespaced: true, Status: true, Doc: "Runtime says how code of a language is loaded.",
			Columns: []Column{
				{Name: "Base", Path: "spec.base"}, {Name: "Protocol", Path: "spec.protocol"}, ready,
				{Name: "Version", Path: "status.version"},
			},
			New: func() any { return new(Runtime) }, Validate: validateRuntime,
		},
		{
			Group: Group, Version: Version, Kind: "Route", Plural: "routes", Singular: "route", Short: []string{"ro"},
			Namespaced: true, Status: true, Doc: "Route sends requests of a host, path and methods to functions or revisions.",
			Columns: []Column{
				{Name: "Host", Path: "spec.host"}, {Name: "Path", Path: "spec.path"}, {Name: "Prefix", Path: "spec.prefix"}, ready, reason,
			},
			New: func() any { return new(Route) }, Validate: validateRoute,
		},
		{
			Version: "v1", Kind: "Namespace", Plural: "namespaces", Singular: "namespace", Short: []string{"ns"}, Status: true,
			Doc:     "Namespace is a tenant.",
			Columns: []Column{{Name: "Status", Path: "status.phase"}},
			New:     func() any { return new(Namespace) },
		},
		{
			Version: "v1", Kind: "Secret", Plural: "secrets", Singular: "secret", Namespaced: true,
			Doc:     "Secret holds confidential values.",
			Columns: []Column{{Name: "Type", Path: "type"}},
			New:     func() any { return new(Secret) }, Validate: validateSecret,
		},
		{
			Version: "v1", Kind: "ConfigMap", Plural: "configmaps", Singular: "configmap", Short: []string{"cm"}, Namespaced: true,
			Doc: "ConfigMap holds values that are no secret.",
			New: func() any { return new(ConfigMap) }, Validate: validateConfigMap,
		},
		{
			Version: "v1", Kind: "Event", Plural: "events", Singular: "event", Short: []string{"ev"}, Namespaced: true,
			Doc: "Event tells what happened to an object.",
			Columns: []Column{
				{Name: "Last Seen", Path: "lastTimestamp", Type: "date"}, {Name: "Type", Path: "type"}, {Name: "Reason", Path: "reason"},
				{Name: "Object", Path: "involvedObject.name"}, {Name: "Message", Path: "message"},
			},
			New: func() any { return new(Event) },
		},
	}
}

// FindKind returns the kind that answers to name, and whether there is one.
func FindKind(name string) (Kind, bool) { return FindIn(Kinds(), name) }

// FindIn returns the first of the kinds that answers to name.
func FindIn(kinds []Kind, name string) (Kind, bool) {
	for _, k := range kinds {
		if k.Answers(name) {
			return k, true
		}
	}
	return Kind{}, false
}

// KindOf returns the kind of a manifest's apiVersion and kind.
func KindOf(apiVersion, kind string) (Kind, bool) { return KindIn(Kinds(), apiVersion, kind) }

// KindIn returns that of the kinds a manifest's apiVersion and kind mean.
func KindIn(kinds []Kind, apiVersion, kind string) (Kind, bool) {
	for _, k := range kinds {
		if k.Kind == kind && k.APIVersion() == apiVersion {
			return k, true
		}
	}
	return Kind{}, false
}
