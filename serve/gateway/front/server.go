package front

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hearth-run/hearth/serve/gateway/drain"
	"github.com/hearth-run/hearth/serve/gateway/lazy"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// Config of a server. All fields are needed.
type Config struct {
	Handler http.Handler
	// Hand takes over a connection whose next request is not plain. read are
	// bytes that came from it and belong to that request, for the receiver to
	// keep. It closes the connection, and may return when it likes.
	Hand func(nc net.Conn, read []byte)
	// HeaderTime bounds a head from its first byte to its last, and the wait
	// for the first byte of a connection; IdleTime the wait between requests,
	// which it may pass by a tenth.
	HeaderTime, IdleTime time.Duration
	// MaxBody is the longest body that is plain.
	MaxBody int
	Log     *slog.Logger
}

// Server serves the plain requests of listeners. Make one with New.
type Server struct {
	c     Config
	conns drain.Group[*conn]
	date  lazy.Date
	free  sync.Pool // *buffers
}

// New makes a server.
func New(c Config) *Server { return &Server{c: c} }

// Serve answers connections of l until that fails, or is closed: then it returns
// what Accept said. It does not close l.
func (s *Server) Serve(l net.Listener) error {
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		if err != nil {
			var t interface{ Temporary() bool }
			if !errors.As(err, &t) || !t.Temporary() {
				return err
			}
			// Descriptors ran out, most likely: some will be free soon.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.c.Log.Warn("a connection was not accepted", "error", err, "again", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		c := &conn{s: s, nc: socket.Wrap(nc), remote: nc.RemoteAddr().String()}
		if !s.conns.Add(c) {
			nc.Close()
			continue
		}
		go c.serve()
	}
}

// Shutdown closes the connections that wait for a request, and waits until the
// others have their answer, or ctx ends. It is called after the listeners were
// closed. Connections handed over are no longer this server's.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx, (*conn).leave) }

// Close ends all connections at once.
func (s *Server) Close() error {
	s.conns.Close(func(c *conn) { c.nc.Close() })
	return nil
}
