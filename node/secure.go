package node

import (
	"crypto/tls"
	"net"
	"strconv"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/gateway"
)

// ACME gets certificates for routes with tls.acme.
type ACME struct {
	Directory string // URL of the authority's directory; Let's Encrypt's if empty
	Email     string // may be empty
}

// listenSecure opens the gateway's port for TLS; nil where none is wanted.
func (n *Node) listenSecure() (net.Listener, error) {
	if n.cfg.TLSAddr == "" {
		return nil, nil
	}
	return listen("gateway", "--tls-port", n.cfg.TLSAddr)
}

// tlsPort is where the gateway answers with TLS; 0: nowhere.
func (n *Node) tlsPort() int {
	if n.secure == nil {
		return 0
	}
	_, port, err := net.SplitHostPort(n.secure.Addr().String())
	if err != nil {
		return 0
	}
	p, _ := strconv.Atoi(port)
	return p
}

// SecureURL is the gateway's address for TLS; empty where it has no second port.
func (n *Node) SecureURL() string {
	if n.secure == nil {
		return ""
	}
	return "https://" + local(n.secure)
}

func (n *Node) acme() *gateway.ACME {
	if n.cfg.ACME == nil {
		return nil
	}
	return &gateway.ACME{Directory: n.cfg.ACME.Directory, Email: n.cfg.ACME.Email}
}

// tls is what the gateway serves hosts that no route has a certificate for.
func (n *Node) tls() *tls.Config {
	if n.cfg.Certificate == nil {
		return nil
	}
	return &tls.Config{Certificates: []tls.Certificate{*n.cfg.Certificate}, MinVersion: tls.VersionTLS12}
}

// frontTLS is for the gateway's first port: nil where it speaks plain HTTP.
func (n *Node) frontTLS() *tls.Config {
	if base := n.tls(); base != nil {
		return n.gateway.TLS(base)
	}
	return nil
}

// routeURL is where a route answers.
func (n *Node) routeURL(r *api.Route) string {
	path, hosts := r.Spec.Path+r.Spec.Prefix, api.RouteHosts(&r.Spec)
	t := r.Spec.TLS
	switch {
	case hosts[0] == "":
		return n.GatewayURL + path
	case n.secure != nil && t != nil && (t.Secret != "" || t.ACME):
		if p := n.tlsPort(); p != 443 {
			return "https://" + net.JoinHostPort(hosts[0], strconv.Itoa(p)) + path
		}
		return "https://" + hosts[0] + path
	}
	return n.withHost(hosts[0]) + path
}
