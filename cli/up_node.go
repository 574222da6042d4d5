package cli

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/node"
)

// StartNode is the StartFunc of the real thing.
func StartNode(ctx context.Context, c UpConfig) (*Running, error) {
	cfg := node.Config{
		State:       c.State,
		GatewayAddr: net.JoinHostPort(c.GatewayHost, strconv.Itoa(c.GatewayPort)),
		APIAddr:     net.JoinHostPort("127.0.0.1", strconv.Itoa(c.APIPort)),
		Folders:     true, // the machine's owner is the only one with a token
		Version:     c.Version,
		Log:         c.Log,
	}
	if c.TLSPort >= 0 {
		cfg.TLSAddr = net.JoinHostPort(c.GatewayHost, strconv.Itoa(c.TLSPort))
	}
	if c.ACME != "" {
		cfg.ACME = &node.ACME{Email: c.ACMEEmail}
		if c.ACME != "on" {
			cfg.ACME.Directory = c.ACME
		}
	}
	if c.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, api.Errorf(api.CodeUsage, "cannot use the certificate %s: %v", c.TLSCert, err).WithHint("--tls-cert and --tls-key name PEM files that belong together")
		}
		cfg.Certificate = &cert
	}
	n, err := node.Up(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Running{
		GatewayURL: n.GatewayURL, SecureURL: n.SecureURL(), APIURL: n.APIURL, Token: n.Token, CA: n.CA, CAFile: n.CAFile, Kubeconfig: n.Kubeconfig, State: c.State,
		Engine: "process", Findings: n.Findings(), Ready: n.ReadyIn, Failed: n.Failed(), Close: n.Close,
	}, nil
}
