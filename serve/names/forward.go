package names

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// forward asks the host's resolvers, one after the other, and returns what the
// first says that has an answer; nil: ctx has ended. The answer may be cut (it
// says so, and is asked for again by a stream).
func (s *Server) forward(ctx context.Context, network string, msg []byte) []byte {
	q, _, f := read(msg)
	if f != reply {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wholeTime)
	defer cancel()
	var last []byte
	why := errors.New("the host has no resolvers")
	for range 2 {
		for _, at := range s.resolvers.list() {
			if at.Addr() == s.c.Address {
				continue
			}
			out, code, err := exchange(ctx, network, at, msg, &q)
			if ctx.Err() == context.Canceled {
				return nil
			}
			if err == nil && code != dnsmessage.RCodeServerFailure && code != dnsmessage.RCodeRefused && code != dnsmessage.RCodeNotImplemented {
				return out
			}
			if err == nil {
				last = out
			} else {
				why = err
			}
		}
		if last != nil || ctx.Err() != nil {
			break
		}
	}
	if last == nil {
		s.log.Debug("the host's resolvers do not answer", "name", q.name(), "error", why)
		last, _ = q.answer(dnsmessage.RCodeServerFailure, netip.Addr{}, "")
	}
	return last
}

// exchange asks one resolver. The question goes out under a number and from a
// port that nobody can guess, and only its own answer is taken.
func exchange(ctx context.Context, network string, at netip.AddrPort, msg []byte, q *question) ([]byte, dnsmessage.RCode, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, at.String())
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	ask := append([]byte(nil), msg...)
	if _, err := rand.Read(ask[:2]); err != nil {
		return nil, 0, err
	}
	id := binary.BigEndian.Uint16(ask)
	if network == "tcp" {
		err = writeLong(c, ask)
	} else {
		_, err = c.Write(ask)
	}
	if err != nil {
		return nil, 0, err
	}
	var buf []byte
	if network != "tcp" {
		buf = make([]byte, 2*mostQuery)
	}
	for {
		var out []byte
		if network == "tcp" {
			out, err = readLong(c, 64<<10)
		} else {
			var n int
			n, err = c.Read(buf)
			out = buf[:n]
		}
		if err != nil {
			return nil, 0, err
		}
		if code, ok := answers(out, id, q); ok {
			binary.BigEndian.PutUint16(out, q.header.ID)
			return out, code, nil
		}
		if network == "tcp" {
			return nil, 0, errors.New("the answer is to another question")
		}
	}
}

// answers tells whether msg is the answer to q, asked under a number.
func answers(msg []byte, id uint16, q *question) (dnsmessage.RCode, bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.ID != id {
		return 0, false
	}
	switch a, err := p.Question(); {
	case err == dnsmessage.ErrSectionDone: // some say no more than that they cannot
		return h.RCode, h.RCode != dnsmessage.RCodeSuccess
	case err != nil:
		return 0, false
	default:
		return h.RCode, a.Type == q.Type && a.Class == q.Class && strings.EqualFold(a.Name.String(), q.Name.String())
	}
}

// resolvers are those of a file, which may change.
type resolvers struct {
	file string
	port uint16

	mu      sync.Mutex
	looked  time.Time
	changed time.Time
	size    int64
	all     []netip.AddrPort
}

// list is who is to be asked, in order. The file is looked at once a second.
func (r *resolvers) list() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < time.Second && r.all != nil {
		return r.all
	}
	r.looked = time.Now()
	st, err := os.Stat(r.file)
	if err == nil && r.all != nil && st.ModTime().Equal(r.changed) && st.Size() == r.size {
		return r.all
	}
	var text []byte
	if err == nil {
		r.changed, r.size = st.ModTime(), st.Size()
		text, err = os.ReadFile(r.file)
	}
	if err != nil && r.all != nil && !errors.Is(err, os.ErrNotExist) {
		return r.all
	}
	r.all = parse(string(text), r.port)
	return r.all
}

// parse reads the resolvers of a resolv.conf: three at most, this machine's if
// there are none.
func parse(text string, port uint16) (all []netip.AddrPort) {
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" || len(all) == 3 {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			all = append(all, netip.AddrPortFrom(a, port))
		}
	}
	if all == nil {
		all = append(all, netip.MustParseAddrPort("127.0.0.1:"+strconv.Itoa(int(port))))
	}
	return all
}
