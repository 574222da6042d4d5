package knative

// Labels.
const (
	LabelService                 = GroupServing + "/service"
	LabelServiceUID              = GroupServing + "/serviceUID"
	LabelConfiguration           = GroupServing + "/configuration"
	LabelConfigurationUID        = GroupServing + "/configurationUID"
	LabelConfigurationGeneration = GroupServing + "/configurationGeneration"
	LabelRevision                = GroupServing + "/revision"
	LabelRoute                   = GroupServing + "/route"
	LabelRoutingState            = GroupServing + "/routingState"
	LabelVisibility              = "networking.knative.dev/visibility"

	VisibilityLocal = "cluster-local"
)

// Values of LabelRoutingState.
const (
	RoutingPending = "pending"
	RoutingActive  = "active"
	RoutingReserve = "reserve"
)

// Annotations.
const (
	AnnotationCreator              = GroupServing + "/creator"
	AnnotationModifier             = GroupServing + "/lastModifier"
	AnnotationRoutes               = GroupServing + "/routes"
	AnnotationRoutingStateModified = GroupServing + "/routingStateModified"
	AnnotationRolloutDuration      = GroupServing + "/rollout-duration"
	AnnotationProgressDeadline     = GroupServing + "/progress-deadline"
	AnnotationNoGC                 = GroupServing + "/no-gc"
	AnnotationHTTPProtocol         = "networking.knative.dev/http-protocol"
	AnnotationLastApplied          = "kubectl.kubernetes.io/last-applied-configuration"
)

// Prefix of the annotations of the autoscaler.
const Autoscaling = "autoscaling.knative.dev/"

// Condition types; the verdict is api.ConditionReady.
const (
	ConditionConfigurations = "ConfigurationsReady"
	ConditionRoutes         = "RoutesReady"
	ConditionResources      = "ResourcesAvailable"
	ConditionHealthy        = "ContainerHealthy"
	ConditionActive         = "Active"
	ConditionAssigned       = "AllTrafficAssigned"
	ConditionIngress        = "IngressReady"
	ConditionCertificate    = "CertificateProvisioned"
	ConditionClaimed        = "DomainClaimed"
	ConditionResolved       = "ReferenceResolved"
)

// Severities of conditions; "" is an error and counts for Ready.
const (
	SeverityWarning = "Warning"
	SeverityInfo    = "Info"
)
