package knative

import "github.com/hearth-run/hearth/api"

// CoreService is Kubernetes' own Service: a name that resolves. Routes make
// one per host they answer; nothing in Hearth reads them.
type CoreService struct {
	api.TypeMeta
	Metadata api.Meta        `json:"metadata"`
	Spec     CoreServiceSpec `json:"spec,omitzero"`
	Status   map[string]any  `json:"status,omitempty"`
}

// CoreServiceSpec is kept as it was written.
type CoreServiceSpec struct {
	Type                  string            `json:"type,omitempty"`
	ExternalName          string            `json:"externalName,omitempty"`
	ClusterIP             string            `json:"clusterIP,omitempty"`
	ClusterIPs            []string          `json:"clusterIPs,omitempty"`
	IPFamilies            []string          `json:"ipFamilies,omitempty"`
	IPFamilyPolicy        string            `json:"ipFamilyPolicy,omitempty"`
	InternalTrafficPolicy string            `json:"internalTrafficPolicy,omitempty"`
	Ports                 []CorePort        `json:"ports,omitempty"`
	Selector              map[string]string `json:"selector,omitempty"`
	SessionAffinity       string            `json:"sessionAffinity,omitempty"`
}

// CorePort is a port of a CoreService.
type CorePort struct {
	Name        string        `json:"name,omitempty"`
	Protocol    string        `json:"protocol,omitempty"`
	AppProtocol string        `json:"appProtocol,omitempty"`
	Port        int           `json:"port" min:"1" max:"65535"`
	TargetPort  api.IntOrName `json:"targetPort,omitempty"`
}

// Account is Kubernetes' ServiceAccount; its pull secrets hold for the revisions
// that name it.
type Account struct {
	api.TypeMeta
	Metadata                     api.Meta              `json:"metadata"`
	Secrets                      []api.ObjectReference `json:"secrets,omitempty"`
	ImagePullSecrets             []api.LocalRef        `json:"imagePullSecrets,omitempty"`
	AutomountServiceAccountToken *bool                 `json:"automountServiceAccountToken,omitempty"`
}
