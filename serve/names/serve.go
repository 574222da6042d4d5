package names

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Server answers questions. Make one with New; it is safe for concurrent use.
type Server struct {
	c         Config
	log       *slog.Logger
	resolvers resolvers
	forwards  limiter
	streams   limiter
}

// New makes a server.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Resolvers == "" {
		c.Resolvers = "/etc/resolv.conf"
	}
	c.Domain = strings.ToLower(strings.Trim(c.Domain, "."))
	return &Server{c: c, log: c.Log, resolvers: resolvers{file: c.Resolvers, port: 53}}
}

// Serve answers what comes by datagrams and by streams until ctx ends; it
// closes both and returns nil when nothing of it is left.
func (s *Server) Serve(ctx context.Context, datagrams net.PacketConn, streams net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		datagrams.Close()
		streams.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	run := func(f func(context.Context, *sync.WaitGroup) error) {
		wg.Go(func() {
			err := f(ctx, &wg)
			if ctx.Err() == nil {
				errs <- err
			}
			cancel()
		})
	}
	run(func(ctx context.Context, wg *sync.WaitGroup) error { return s.datagrams(ctx, wg, datagrams) })
	run(func(ctx context.Context, wg *sync.WaitGroup) error { return s.accept(ctx, wg, streams) })
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (s *Server) datagrams(ctx context.Context, wg *sync.WaitGroup, pc net.PacketConn) error {
	buf := make([]byte, mostQuery)
	for {
		n, to, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil || n == 0 { // an earlier answer was not welcome
			continue
		}
		from := addressOf(to)
		out, f := s.answer(buf[:n], from)
		switch f {
		case reply:
			pc.WriteTo(out, to)
		case passOn:
			if !s.forwards.take(from) {
				continue // it will ask again
			}
			msg := append([]byte(nil), buf[:n]...)
			wg.Go(func() {
				defer s.forwards.give(from)
				if out := s.forward(ctx, "udp", msg); out != nil {
					pc.WriteTo(out, to)
				}
			})
		}
	}
}

func (s *Server) accept(ctx context.Context, wg *sync.WaitGroup, l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // descriptors ran out, most likely
			s.log.Warn("a stream for names was not accepted", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		from := addressOf(c.RemoteAddr())
		if !s.streams.take(from) {
			c.Close()
			continue
		}
		wg.Go(func() {
			defer s.streams.give(from)
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			s.stream(ctx, c, from)
		})
	}
}

// stream answers one question after the other.
func (s *Server) stream(ctx context.Context, c net.Conn, from netip.Addr) {
	for {
		c.SetDeadline(time.Now().Add(idleTime))
		msg, err := readLong(c, mostQuery)
		if err != nil {
			return
		}
		out, f := s.answer(msg, from)
		switch f {
		case drop:
			return
		case passOn:
			out = s.forward(ctx, "tcp", msg)
		}
		if out == nil || writeLong(c, out) != nil {
			return
		}
	}
}

// readLong reads a message that follows its length.
func readLong(r io.Reader, most int) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(n[:]))
	if size > most {
		return nil, errors.New("the message is too long")
	}
	msg := make([]byte, size)
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeLong(w io.Writer, msg []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, len(msg)+2), uint16(len(msg))), msg...))
	return err
}

func addressOf(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr().Unmap()
	}
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// limiter keeps one address from taking everything.
type limiter struct {
	mu  sync.Mutex
	all int
	by  map[netip.Addr]int
}

func (l *limiter) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= mostAll || l.by[a] >= mostOne {
		return false
	}
	if l.by == nil {
		l.by = map[netip.Addr]int{}
	}
	l.all++
	l.by[a]++
	return true
}

func (l *limiter) give(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.by[a]--; l.by[a] == 0 {
		delete(l.by, a)
	}
}
