package api

// Defaults of traffic rules, used where a spec is silent.
const (
	DefaultRetries = 2
	// MirrorBody is how long a request's body may be to be mirrored, in bytes.
	MirrorBody = 1 << 20
	// RolloutJudged is how many requests a revision must have answered in a
	// step before it is judged, where minRequests is not given.
	RolloutJudged = 10
)

// Values of a route's tagHeader.
const (
	TagHeaderIgnored = "ignored"
	TagHeaderTold    = "told"
)

// TagHeaders name a tag where the host does not: the first is Hearth's own, the
// second what Knative's clients send.
func TagHeaders() [2]string { return [2]string{"Hearth-Tag", "Knative-Serving-Tag"} }

// TrafficTarget is one destination of a function's requests.
type TrafficTarget struct {
	Revision string `json:"revision,omitempty" doc:"Name of the revision; instead of latest."`
	Latest   bool   `json:"latest,omitempty" doc:"The newest revision that works, whichever that is; a rollout moves its share."`
	Percent  int    `json:"percent,omitempty" min:"0" max:"100" doc:"Share of the requests; the sum of all is 100. 0 with a tag: only the tag's address leads here."`
	Tag      string `json:"tag,omitempty" doc:"Name that gives the target an address of its own, TAG-NAME, and answers to the header Hearth-Tag."`
}

// TrafficShare is a destination as it is now.
type TrafficShare struct {
	Revision string `json:"revision"`
	Percent  int    `json:"percent,omitempty"`
	Latest   bool   `json:"latest,omitempty" doc:"It follows the newest revision that works."`
	Tag      string `json:"tag,omitempty"`
	URL      string `json:"url,omitempty" doc:"Where the tag answers."`
}

// Rollout gives a new revision its share little by little, and takes it back
// when too much fails.
type Rollout struct {
	Steps           []int     `json:"steps,omitempty" doc:"Percents the new revision gets one after the other, such as [5, 25, 50]; all follows the last. Instead of duration."`
	Duration        *Duration `json:"duration,omitempty" doc:"Time from 1 % to all of the requests, in even steps; instead of steps."`
	Interval        *Duration `json:"interval,omitempty" doc:"Time between two steps; 1m by default."`
	MaxErrorPercent *int      `json:"maxErrorPercent,omitempty" min:"0" max:"100" doc:"Rolled back when more of the new revision's answers in a step are errors (status 500 and above); not watched by default."`
	MaxLatency      *Duration `json:"maxLatency,omitempty" doc:"Rolled back when the new revision's 99th percentile in a step is longer; not watched by default."`
	MinRequests     int       `json:"minRequests,omitempty" min:"0" max:"1000000" doc:"Requests the new revision must have answered in a step before it is judged and the next step follows. When not given it is judged from 10 on, and time alone brings the next step."`
}

// Phases of a rollout.
const (
	RolloutProgressing = "Progressing"
	RolloutDone        = "Done"
	RolloutRolledBack  = "RolledBack"
)

// RolloutStatus is how far a rollout is. It is all the reconciler needs to go on
// after a restart.
type RolloutStatus struct {
	Phase   string    `json:"phase,omitempty" enum:"Progressing,Done,RolledBack"`
	To      string    `json:"to,omitempty" doc:"The revision that gets the share."`
	Shares  []Share   `json:"shares,omitempty" doc:"Parts of the share that is moved, in percent of it, oldest revision first."`
	Step    int       `json:"step,omitempty" doc:"Number of the present step."`
	Size    int       `json:"size,omitempty" doc:"Percent each step moves, with a duration."`
	Every   *Duration `json:"every,omitempty" doc:"Time between two steps, with a duration."`
	Started *Time     `json:"started,omitempty"`
	Stepped *Time     `json:"stepped,omitempty" doc:"When the present step began."`
	Message string    `json:"message,omitempty" doc:"Why it was rolled back, with the numbers."`
}

// Sticky sends whoever comes again to the revision he was sent to before, while
// it has a share. Without it the weights hold exactly.
type Sticky struct {
	Cookie string `json:"cookie,omitempty" doc:"Name of a cookie the gateway sets; instead of header."`
	Header string `json:"header,omitempty" doc:"Name of a header the client sends, such as X-User; instead of cookie."`
}

// Mirror sends a copy of some requests elsewhere; the answers are dropped.
type Mirror struct {
	Function string `json:"function,omitempty" doc:"Function that gets the copies; instead of revision."`
	Revision string `json:"revision,omitempty" doc:"Revision that gets the copies; instead of function."`
	Percent  *int   `json:"percent,omitempty" min:"0" max:"100" doc:"Share of the requests that is copied; 100 by default. Requests with a body over 1Mi are not."`
}

// Redirect answers with another address instead of calling a target.
type Redirect struct {
	Status int    `json:"status,omitempty" doc:"301, 302, 303, 307 or 308; 302 by default."`
	Scheme string `json:"scheme,omitempty" enum:"http,https" doc:"The request's by default."`
	Host   string `json:"host,omitempty" doc:"Host, with a port if need be; the request's by default."`
	Path   string `json:"path,omitempty" doc:"Path instead of the request's; {name} stands for a variable of the route's path. The query is kept."`
}

// HeaderRules change headers on their way: remove first, then set, then add.
type HeaderRules struct {
	Set    map[string]string `json:"set,omitempty" doc:"Headers with the one value they get; of a request also Host."`
	Add    map[string]string `json:"add,omitempty" doc:"Values that join those that are there."`
	Remove []string          `json:"remove,omitempty" doc:"Headers taken out."`
}

// RateLimit bounds how many requests a route answers; others get 429.
type RateLimit struct {
	Requests int       `json:"requests" min:"1" max:"1000000000" doc:"Requests allowed in each time of per."`
	Per      *Duration `json:"per,omitempty" doc:"1s by default."`
	Burst    int       `json:"burst,omitempty" min:"0" max:"1000000000" doc:"Requests that may come at once; as many as requests by default."`
	By       string    `json:"by,omitempty" doc:"client counts each client address by itself, header:NAME each value of a header; all together when empty."`
}

// Failures a retry can follow.
const (
	RetryConnectFailure = "connect-failure"
	Retry502            = "502"
	Retry503            = "503"
	Retry504            = "504"
)

// Retry makes failed calls again: only those of idempotent methods (GET, HEAD,
// OPTIONS, TRACE, PUT, DELETE) whose body is at most 16 KiB.
type Retry struct {
	Attempts int      `json:"attempts,omitempty" min:"0" max:"10" doc:"Calls made at most besides the first; 2 by default."`
	On       []string `json:"on,omitempty" doc:"Failures that are followed by another call: connect-failure, 502, 503, 504; all of them by default."`
}

// Timeouts are limits counted from the arrival of a request. Before an answer
// has begun, passing one is answered with 504; afterwards the answer ends there.
type Timeouts struct {
	Request       *Duration `json:"request,omitempty" doc:"Longest time for a whole call, also for one that streams."`
	ResponseStart *Duration `json:"responseStart,omitempty" doc:"Longest time to the first byte of the answer."`
	Idle          *Duration `json:"idle,omitempty" doc:"Longest time between two parts of the answer, also before the first."`
}

// RouteTLS says how the hosts of a route are served over TLS.
type RouteTLS struct {
	Secret   string `json:"secret,omitempty" doc:"Secret of type kubernetes.io/tls in the route's namespace, with tls.crt and tls.key; instead of acme."`
	ACME     bool   `json:"acme,omitempty" doc:"Get certificates from the certificate authority hearth up was told of; needs hosts without *."`
	Redirect bool   `json:"redirect,omitempty" doc:"Send plain HTTP requests to https with 301."`
}

// SecretTypeTLS is the type of Secrets that hold a certificate, and the keys in
// them.
const (
	SecretTypeTLS = "kubernetes.io/tls"
	SecretTLSCert = "tls.crt"
	SecretTLSKey  = "tls.key"
)
