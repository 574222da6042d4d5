package api

// Route sends requests of a host, path and methods to functions or revisions.
type Route struct {
	TypeMeta
	Metadata Meta        `json:"metadata"`
	Spec     RouteSpec   `json:"spec"`
	Status   RouteStatus `json:"status,omitzero"`
}

// RouteSpec is what its author wants. Precedence: a host before none, an exact
// host before a wildcard, literal segments before variables, an exact path
// before a prefix, the longer prefix first, one that names methods before one
// that does not; of two equal ones the older wins and the other gets the
// condition Admitted=False.
type RouteSpec struct {
	Host       string        `json:"host,omitempty" doc:"Host name, *.example.com for one more label in front, or empty for any host."`
	Hosts      []string      `json:"hosts,omitempty" doc:"Several hosts, instead of host or besides it."`
	Path       string        `json:"path,omitempty" doc:"Exact path; {name} stands for one segment, {name...} at the end for the rest."`
	Prefix     string        `json:"prefix,omitempty" doc:"Path prefix, by whole segments; instead of path."`
	KeepPrefix bool          `json:"keepPrefix,omitempty" doc:"Pass the path on as it came instead of cutting the prefix."`
	Methods    []string      `json:"methods,omitempty" doc:"Methods answered; all when empty. HEAD follows GET."`
	Targets    []RouteTarget `json:"targets,omitempty" doc:"Where requests go, by weight. Needed, unless the route redirects."`
	CORS       *CORS         `json:"cors,omitempty" doc:"Cross-origin rules; without them no CORS header is added."`
	Timeout    *Duration     `json:"timeout,omitempty" doc:"Overrides the function's timeout for this route."`

	Timeouts        *Timeouts    `json:"timeouts,omitempty" doc:"Limits for a whole call, for the beginning of its answer and for silence in it."`
	Sticky          *Sticky      `json:"sticky,omitempty" doc:"Send who comes again to the same revision."`
	Mirror          *Mirror      `json:"mirror,omitempty" doc:"Copy requests to another target and drop its answers."`
	Redirect        *Redirect    `json:"redirect,omitempty" doc:"Answer with another address; instead of targets."`
	RequestHeaders  *HeaderRules `json:"requestHeaders,omitempty" doc:"Changes to the request's headers."`
	ResponseHeaders *HeaderRules `json:"responseHeaders,omitempty" doc:"Changes to the answer's headers."`
	RateLimit       *RateLimit   `json:"rateLimit,omitempty" doc:"How many requests are answered."`
	Retry           *Retry       `json:"retry,omitempty" doc:"Make failed calls again."`
	TLS             *RouteTLS    `json:"tls,omitempty" doc:"Certificate of the hosts."`
	TagHeader       string       `json:"tagHeader,omitempty" enum:"ignored,told" doc:"A request may name a tag by the header Hearth-Tag or Knative-Serving-Tag. Ignored: only by the address; told: it may, and the target sees by Knative-Serving-Default-Route whether it came for none."`
}

// RouteTarget is one weighted destination: a function (its newest ready
// revision) or one revision.
type RouteTarget struct {
	Function string `json:"function,omitempty"`
	Revision string `json:"revision,omitempty"`
	Weight   *int   `json:"weight,omitempty" min:"0" max:"1000000" doc:"Share of the requests in proportion to all weights; 1 by default."`
	Tag      string `json:"tag,omitempty" doc:"Name that gives the target addresses of its own, TAG-HOST for every host, and answers to the header Hearth-Tag."`
	// TagWeight is written by what makes routes: several of its targets may have
	// one tag while a newer one takes over.
	TagWeight *int `json:"tagWeight,omitempty" min:"0" max:"1000000" doc:"Share of the tag's own requests, where several targets have it; the weight by default."`
}

// CORS are the cross-origin rules of a route.
type CORS struct {
	AllowOrigins     []string  `json:"allowOrigins,omitempty" doc:"Origins, or * for all."`
	AllowMethods     []string  `json:"allowMethods,omitempty"`
	AllowHeaders     []string  `json:"allowHeaders,omitempty"`
	ExposeHeaders    []string  `json:"exposeHeaders,omitempty"`
	AllowCredentials bool      `json:"allowCredentials,omitempty"`
	MaxAge           *Duration `json:"maxAge,omitempty"`
}

// RouteStatus is what the reconciler found.
type RouteStatus struct {
	Conditions         Conditions `json:"conditions,omitempty"`
	ObservedGeneration int64      `json:"observedGeneration,omitempty"`
	URL                string     `json:"url,omitempty"`
}
