package gateway

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hearth-run/hearth/serve/gateway/front"
	"github.com/hearth-run/hearth/serve/gateway/h2"
)

// Limits of the public server.
const (
	headerTime = 10 * time.Second // from the first byte of a request's head to its last
	idleTime   = 2 * time.Minute  // between requests of a connection
	maxHeader  = 64 << 10
	drainTime  = 30 * time.Second // for calls in progress when the server ends
)

// Serve answers the connections of l, which it closes, until ctx ends: HTTP/1.1
// and HTTP/2, with TLS where config is given and without (h2c) otherwise. Then it
// takes no new calls, waits for those in progress, 30 seconds at most, and
// returns nil.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	return g.serve(ctx, l, config, g)
}

// ServeNear is Serve, without TLS, for a listener that only instances reach:
// they may use short names of what is inside.
func (g *Gateway) ServeNear(ctx context.Context, l net.Listener) error {
	return g.serve(ctx, l, nil, near{g})
}

func (g *Gateway) serve(ctx context.Context, l net.Listener, config *tls.Config, h http.Handler) error {
	s := g.server(config, h)
	both := h2.New(h2.Config{Handler: h, Log: g.log, HeaderTime: headerTime, IdleTime: idleTime})
	s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(_ *http.Server, nc *tls.Conn, _ http.Handler) {
			state := nc.ConnectionState()
			both.ServeConn(nc, nil, &state)
		},
	}
	behind := &guardListener{Listener: l, ended: make(chan struct{})}
	if config != nil {
		return until(ctx, func() error { return s.ServeTLS(behind, "", "") }, s, both)
	}
	// Plain requests take the short way; every other connection is net/http's.
	behind.handed = make(chan *guard)
	hand := func(nc net.Conn, read []byte) {
		if speaksH2(read) {
			both.ServeConn(nc, read, nil)
		} else {
			behind.take(nc, read)
		}
	}
	f := front.New(front.Config{
		Handler: h, Hand: hand, HeaderTime: headerTime, IdleTime: idleTime, MaxBody: smallBody, Log: g.log,
	})
	return until(ctx, func() error {
		var wg sync.WaitGroup
		wg.Go(func() { s.Serve(behind) })
		err := f.Serve(l)
		behind.Close()
		wg.Wait()
		return err
	}, f, s, both)
}

// server is net/http's, for what is neither plain HTTP/1.1 nor HTTP/2.
func (g *Gateway) server(config *tls.Config, h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(config != nil)
	protocols.SetUnencryptedHTTP2(config == nil)
	return &http.Server{
		Handler: refuse{g, h}, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader - 4096, // net/http adds that much
		Protocols: protocols, TLSConfig: config, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			if t, ok := nc.(*tls.Conn); ok {
				nc = t.NetConn()
			}
			return context.WithValue(ctx, guardKey{}, nc)
		},
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 250},
	}
}

// ender is a server that can be ended well, or at once.
type ender interface {
	Shutdown(context.Context) error
	Close() error
}

// until serves until that fails or ctx ends; then it ends the servers.
func until(ctx context.Context, serve func() error, servers ...ender) error {
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			if s.Shutdown(last) != nil {
				s.Close()
			}
		})
	}
	wg.Wait()
	<-ended
	return nil
}
