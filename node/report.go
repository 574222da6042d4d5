package node

import (
	"context"
	"net"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale"
)

// Status is what /hearth/v1/status answers.
type Status struct {
	Version  string         `json:"version"`
	PID      int            `json:"pid"`
	Started  time.Time      `json:"started"`
	State    string         `json:"state"`
	Gateway  string         `json:"gateway"`
	Secure   string         `json:"secure,omitempty"` // the gateway's address for TLS
	API      string         `json:"api"`
	Warm     map[string]int `json:"warm"`
	Scale    []Scaled       `json:"scale,omitempty"`
	Platform string         `json:"platform"`
}

// Scaled is a revision that has instances, or had calls.
type Scaled struct {
	Tenant    string `json:"tenant"`
	Function  string `json:"function"`
	Revision  string `json:"revision"`
	Instances int    `json:"instances"`
	Busy      int    `json:"busy"`
	Queued    int    `json:"queued"`
	Starting  int    `json:"starting"`
	Resting   int    `json:"resting,omitempty"` // of the instances: not ready for calls now
	Error     string `json:"error,omitempty"`
	// What the number follows besides calls, cpu or memory: what one instance uses
	// in the mean, and what it is meant to, in processors or bytes.
	Metric string  `json:"metric,omitempty"`
	Used   float64 `json:"used,omitempty"`
	Target float64 `json:"target,omitempty"`
}

func (n *Node) status() any {
	return Status{
		Version: n.cfg.Version, PID: os.Getpid(), Started: n.started, State: n.State, Gateway: n.GatewayURL, Secure: n.SecureURL(), API: n.APIURL,
		Warm: n.engine.Warm(), Scale: scaled(n.scaler.Stats()), Platform: goruntime.GOOS + "/" + goruntime.GOARCH,
	}
}

func scaled(all []scale.Stats) (out []Scaled) {
	for _, s := range all {
		r := Scaled{
			Tenant: s.Tenant, Function: s.Function, Revision: s.Revision, Instances: s.Instances, Busy: s.Busy, Queued: s.Queued, Starting: s.Starting,
			Resting: s.Resting, Metric: s.Metric, Used: s.Used, Target: s.Target,
		}
		if s.LastError != nil {
			r.Error = s.LastError.Message
		}
		out = append(out, r)
	}
	return out
}

// Check is one line of hearth doctor.
type Check struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
	Needed bool   `json:"needed"` // functions cannot run without it
}

func (n *Node) doctor() any {
	var all []Check
	for _, name := range []string{api.RuntimeNode, api.RuntimePython, api.RuntimeGo} {
		i := n.find(name)
		if i.Err != nil {
			e := api.AsError(i.Err)
			all = append(all, Check{Check: "runtime " + name, Detail: e.Message, Fix: e.Help()})
			continue
		}
		all = append(all, Check{Check: "runtime " + name, OK: true, Detail: i.Version + " at " + i.Path})
	}
	for _, f := range append(n.engines.Findings(), n.engine.Host().CheckNames(context.Background())) {
		all = append(all, Check{Check: f.Check, OK: f.OK, Detail: f.Detail, Fix: f.Fix})
	}
	return all
}

// local is a listener's address as its own machine's user writes it.
func local(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsLoopback() || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// hosts are names the API's certificate has besides those of this machine.
func hosts(addr string) []string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return nil
	}
	return []string{host}
}

func cutScheme(url string) (scheme, rest string, ok bool) { return strings.Cut(url, "://") }
