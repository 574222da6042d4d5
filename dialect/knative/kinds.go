package knative

import "github.com/hearth-run/hearth/api"

// Kinds returns the kinds of Knative Serving, and those of Kubernetes that its
// clients ask for, with the default settings. The slice is the caller's.
func Kinds() []api.Kind { return KindsWith(DefaultSettings) }

// KindsWith is Kinds with the settings of an administrator, which are asked for
// with every write.
func KindsWith(s func() Settings) []api.Kind {
	kinds := describe()
	for i, k := range kinds {
		switch k.Resource() {
		case Services:
			kinds[i].Admit = admitter[Service]{s, serviceDefaults, checkService}.admit
		case Configurations:
			kinds[i].Admit = admitter[Configuration]{s, configurationDefaults, checkConfiguration}.admit
		case Revisions:
			kinds[i].Admit = admitter[Revision]{s, revisionDefaults, checkRevision}.admit
		case Routes:
			kinds[i].Admit = admitter[Route]{s, routeDefaults, checkRoute}.admit
		case DomainMappings:
			kinds[i].Admit = admitter[DomainMapping]{s, domainDefaults, checkDomain}.admit
		case DomainClaims:
			kinds[i].Admit = admitter[DomainClaim]{s, func(Settings, *api.Admission) {}, checkClaim}.admit
		default:
			continue
		}
		kinds[i].Refuse = refuser(k)
	}
	return kinds
}

// describe lists the kinds without their rules.
func describe() []api.Kind {
	ready := api.Column{Name: "Ready", Path: "status.conditions[Ready].status"}
	reason := api.Column{Name: "Reason", Path: "status.conditions[Ready].reason"}
	url := api.Column{Name: "URL", Path: "status.url"}
	created := api.Column{Name: "LatestCreated", Path: "status.latestCreatedRevisionName"}
	latest := api.Column{Name: "LatestReady", Path: "status.latestReadyRevisionName"}
	all := []string{"all", "knative", "serving"}
	return []api.Kind{
		{
			Group: GroupServing, Version: "v1", Kind: "Service", Plural: "services", Singular: "service", Short: []string{"kservice", "ksvc"},
			Categories: all, Namespaced: true, Status: true, Doc: "Service runs a container image and routes requests to its revisions.",
			Columns: []api.Column{url, created, latest, ready, reason},
			New:     func() any { return new(Service) },
		},
		{
			Group: GroupServing, Version: "v1", Kind: "Configuration", Plural: "configurations", Singular: "configuration", Short: []string{"config", "cfg"},
			Categories: all, Namespaced: true, Status: true, Doc: "Configuration stamps a Revision for every change of its template.",
			Columns: []api.Column{created, latest, ready, reason},
			New:     func() any { return new(Configuration) },
		},
		{
			Group: GroupServing, Version: "v1", Kind: "Revision", Plural: "revisions", Singular: "revision", Short: []string{"rev"},
			Categories: all, Namespaced: true, Status: true, Doc: "Revision is an immutable copy of a Configuration's template.",
			Columns: []api.Column{
				{Name: "Config Name", Path: "metadata.labels[" + LabelConfiguration + "]"},
				{Name: "Generation", Path: "metadata.labels[" + LabelConfigurationGeneration + "]"},
				ready, reason,
				{Name: "Actual Replicas", Path: "status.actualReplicas", Type: "integer"},
				{Name: "Desired Replicas", Path: "status.desiredReplicas", Type: "integer"},
			},
			New: func() any { return new(Revision) },
		},
		{
			Group: GroupServing, Version: "v1", Kind: "Route", Plural: "routes", Singular: "route", Short: []string{"rt"},
			Categories: all, Namespaced: true, Status: true, Doc: "Route shares the requests to a host among revisions.",
			Columns: []api.Column{url, ready, reason},
			New:     func() any { return new(Route) },
		},
		{
			Group: GroupServing, Version: "v1beta1", Kind: "DomainMapping", Plural: "domainmappings", Singular: "domainmapping", Short: []string{"dm"},
			Categories: all, Namespaced: true, Status: true, Dotted: true, Doc: "DomainMapping makes a Service or Route answer under the host that is its name.",
			Columns: []api.Column{url, ready, reason},
			New:     func() any { return new(DomainMapping) },
		},
		{
			Group: GroupNetworking, Version: "v1alpha1", Kind: "ClusterDomainClaim", Plural: "clusterdomainclaims", Singular: "clusterdomainclaim", Short: []string{"cdc"},
			Categories: []string{"knative-internal", "networking"}, Dotted: true, Doc: "ClusterDomainClaim reserves the host that is its name for one namespace.",
			Columns: []api.Column{{Name: "Namespace", Path: "spec.namespace"}},
			New:     func() any { return new(DomainClaim) },
		},
		{
			Version: "v1", Kind: "Service", Plural: "services", Singular: "service", Short: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
			Doc:     "Service is a name inside the cluster; Routes make them for their hosts.",
			Columns: []api.Column{{Name: "Type", Path: "spec.type"}, {Name: "External-Name", Path: "spec.externalName"}},
			New:     func() any { return new(CoreService) },
		},
		{
			Version: "v1", Kind: "ServiceAccount", Plural: "serviceaccounts", Singular: "serviceaccount", Short: []string{"sa"}, Namespaced: true,
			Doc: "ServiceAccount carries the secrets with which images are pulled.",
			New: func() any { return new(Account) },
		},
	}
}
