package sandbox

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
)

// rangeSize is how many user ids each Shared has; a number of the image's is
// that many more on the host.
const rangeSize = 65536

// ranges is how many of them a host hands out.
const ranges = 8192

// Shared is what several boxes have in common: their network, so that they
// reach each other by localhost, their users and their volumes. All methods are
// safe for concurrent use.
type Shared struct {
	h    *Host
	name string
	base int // first user id of the host; 0 where there are no user namespaces
	slot int
	link *link
	ns   int // network namespace; -1: the host's
	// layer is the name in the scene of the furniture of all roots.
	layer string

	mu      sync.Mutex
	tenant  string // empty: not known yet
	boxes   int
	serial  int
	volumes []*Volume
	closed  bool
	gone    bool
}

// Share reserves a network (NetworkHost, NetworkPrivate, NetworkNone) for boxes
// with this name as host name. Private becomes a network of loopback alone
// where the host cannot do more. The caller closes it.
func (h *Host) Share(name, network string) (*Shared, error) {
	if !validID(name) {
		return nil, api.Errorf(api.CodeInvalid, "box name %q: letters, digits, '-', '_' and '.' only, 63 at most", name)
	}
	if err := h.tryRoots(); err != nil {
		return nil, err
	}
	s := &Shared{h: h, name: name, ns: -1}
	if err := h.takeRange(s); err != nil {
		return nil, err
	}
	err := s.network(network)
	if err == nil {
		err = s.furnish()
	}
	if err != nil {
		s.release()
		return nil, api.Errorf(api.CodeStartFailed, "prepare %s: %v", name, err).WithCause(err)
	}
	return s, nil
}

// dir is the folder on disk of what the boxes share, and the beginning of the
// names of what each of them writes.
func (s *Shared) dir() string { return filepath.Join(s.h.roots.dir, strconv.Itoa(s.slot)) }

// SetTenant says whose the boxes are, so that they find their neighbours by
// short names. It is called before the first of them gets its root; for a
// network that is not private it does nothing.
func (s *Shared) SetTenant(tenant string) error {
	s.mu.Lock()
	s.tenant = tenant
	s.mu.Unlock()
	if s.link == nil || s.link.n.resolv() == "" {
		return nil
	}
	s.link.setTenant(tenant)
	f := s.furniture()
	err := s.h.roots.scene.with(func() error { return f.write(filepath.Join(s.layer, "etc", "resolv.conf"), f.names) })
	if err != nil {
		return api.Errorf(api.CodeStartFailed, "prepare %s: %v", s.name, err).WithCause(err)
	}
	return nil
}

func (s *Shared) owner() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenant
}

func (s *Shared) network(kind string) (err error) {
	switch {
	case kind == NetworkHost || kind == "" || !s.h.allows.net:
		return nil
	case kind == NetworkPrivate && s.h.net != nil:
		if s.link, err = s.h.net.take(); err == nil {
			s.ns = s.link.ns
		}
		return err
	case kind != NetworkPrivate && kind != NetworkNone:
		return fmt.Errorf("there is no network %q", kind)
	}
	if s.ns, err = newNamespace(); err != nil {
		s.ns = -1
		return err
	}
	_, err = inNamespace(s.ns, func() (struct{}, error) {
		openPorts()
		return struct{}{}, loopbackUp()
	})
	return err
}

// openPorts lets every user of the calling thread's network listen on ports
// below 1024 and send pings: there is nobody to protect them from.
func openPorts() {
	write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
	write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
}

func (h *Host) takeRange(s *Shared) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed()
	}
	r := h.roots
	if len(r.shared) >= ranges {
		return api.Errorf(api.CodeStartFailed, "no user ids are free: %d instances are running", len(r.shared))
	}
	for r.shared[r.next] != nil {
		r.next = (r.next + 1) % ranges
	}
	s.slot = r.next
	r.next = (r.next + 1) % ranges
	r.shared[s.slot] = s
	if r.users {
		s.base = h.o.RangeBase + s.slot*rangeSize
	}
	return nil
}

// Dial connects from inside the network, so that 127.0.0.1 is the boxes' own.
// The address has to be numeric. The caller closes the connection.
func (s *Shared) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if s.ns < 0 {
		return d.DialContext(ctx, network, address)
	}
	ns, err := s.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(ns)
	return inNamespace(ns, func() (net.Conn, error) { return d.DialContext(ctx, network, address) })
}

// open returns a descriptor of the network namespace, which must be closed.
func (s *Shared) open() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return -1, api.Errorf(api.CodeNotFound, "%s has ended", s.name)
	}
	return unix.FcntlInt(uintptr(s.ns), unix.F_DUPFD_CLOEXEC, 3)
}

// Listening lists the TCP ports something in the network listens on, sorted;
// nothing where the network is the host's.
func (s *Shared) Listening() ([]int, error) {
	if s.ns < 0 {
		return nil, nil
	}
	ns, err := s.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(ns)
	return inNamespace(ns, func() ([]int, error) {
		four, err := os.ReadFile("/proc/thread-self/net/tcp")
		six, _ := os.ReadFile("/proc/thread-self/net/tcp6")
		return listening(string(four) + string(six)), err
	})
}

// Close releases everything when the last of the boxes has ended; no box can
// be added any more. Twice is no error.
func (s *Shared) Close() {
	s.mu.Lock()
	s.closed = true
	last := s.boxes == 0 && !s.gone
	s.gone = s.gone || last
	s.mu.Unlock()
	if last {
		s.release()
	}
}

func (s *Shared) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return api.Errorf(api.CodeNotFound, "%s has ended", s.name)
	}
	s.boxes++
	return nil
}

func (s *Shared) leave() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.boxes--
	last := s.boxes == 0 && s.closed && !s.gone
	s.gone = s.gone || last
	s.mu.Unlock()
	if last {
		s.release()
	}
}

func (s *Shared) release() {
	s.mu.Lock()
	s.gone = true
	volumes := s.volumes
	s.volumes = nil
	s.mu.Unlock()
	for _, v := range volumes {
		v.release()
	}
	if s.layer != "" {
		s.h.roots.scene.dropMemory(s.layer)
	}
	if s.link != nil {
		s.link.release()
	} else if s.ns >= 0 {
		unix.Close(s.ns)
	}
	if err := os.RemoveAll(s.dir()); err != nil {
		s.h.log.Warn("cannot remove what a box wrote", "box", s.name, "error", err)
	}
	s.h.mu.Lock()
	delete(s.h.roots.shared, s.slot)
	s.h.mu.Unlock()
}
