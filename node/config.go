package node

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// Config says what Up shall run. The zero value of every field is usable.
type Config struct {
	// State is the folder everything is kept in; .hearth if empty.
	State string
	// GatewayAddr and APIAddr are where to listen; 127.0.0.1:8080 and
	// 127.0.0.1:4000 if empty. Port 0 takes a free one.
	GatewayAddr, APIAddr string
	// Domain ends the functions' host names; localhost if empty.
	Domain string
	// Certificate serves the gateway over TLS; nil serves plain HTTP.
	Certificate *tls.Certificate
	// TLSAddr is a second port of the gateway, which speaks TLS with the
	// certificates of routes; Certificate's, if there is one, serves the other
	// hosts. Empty: there is none.
	TLSAddr string
	// ACME gets certificates for routes that ask for it; nil: none are got.
	ACME *ACME
	// Folders allows spec.source.folder. On one's own machine that is right;
	// where others may write functions it shows them the machine's files.
	Folders bool
	// PoolMemory bounds the memory of all warm instances, in bytes; 0 means an
	// eighth of the machine's.
	PoolMemory int64
	// Drain is how long Close waits for calls in progress; 10 s if 0.
	Drain time.Duration
	// Version is shown by the API.
	Version string
	// Log is for the operator; nil discards.
	Log *slog.Logger
	// Self is the command that runs this binary's sandbox stage; for tests.
	Self []string
	// Without names sandbox mechanisms to do without; for tests.
	Without []string
	// Containers runs revisions made of images, instead of this host's own
	// engine; for tests. The node closes it.
	Containers engine.Engine
	// Progress gets each line a build prints; may be nil.
	Progress func(namespace, function, line string)
}

func (c Config) withDefaults() Config {
	if c.State == "" {
		c.State = ".hearth"
	}
	if c.GatewayAddr == "" {
		c.GatewayAddr = "127.0.0.1:8080"
	}
	if c.APIAddr == "" {
		c.APIAddr = "127.0.0.1:4000"
	}
	if c.Domain == "" {
		c.Domain = "localhost"
	}
	if c.Drain == 0 {
		c.Drain = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
