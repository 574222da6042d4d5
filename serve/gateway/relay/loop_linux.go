package relay

import (
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// loops are what pairs of sockets share. They are made for the first pair.
type loops struct {
	once sync.Once
	all  []*loop // none where the system refuses
	next atomic.Uint32
}

// maxLoops bounds the loops: each moves some gigabytes a second.
const maxLoops = 4

// join joins p if both its connections are sockets.
func (ls *loops) join(r *Relay, p *Pair) bool {
	if !isSocket(p.A) || !isSocket(p.B) {
		return false
	}
	ls.once.Do(func() {
		for range min(runtime.GOMAXPROCS(0), maxLoops) {
			if l, err := newLoop(); err == nil {
				ls.all = append(ls.all, l)
			}
		}
	})
	if len(ls.all) == 0 {
		return false
	}
	a, err := detach(p.A)
	if err != nil {
		return false
	}
	b, err := detach(p.B)
	if err != nil {
		syscall.Close(a)
		return false
	}
	p.A.Close()
	p.B.Close()
	ls.all[int(ls.next.Add(1))%len(ls.all)].join(r, p, a, b)
	return true
}

// close ends the loops, which have no pairs left.
func (ls *loops) close() {
	ls.once.Do(func() {})
	for _, l := range ls.all {
		l.bell.Close()
		<-l.ended
		syscall.Close(l.socks)
	}
}

func isSocket(nc net.Conn) bool {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// detach returns a descriptor of nc's socket that Go's poller does not know.
// nc is then closed, which leaves the socket open.
func detach(nc net.Conn) (fd int, err error) {
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	var errno syscall.Errno
	err = raw.Control(func(of uintptr) {
		var n uintptr
		n, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, of, syscall.F_DUPFD_CLOEXEC, 0)
		fd = int(n)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return fd, err
}

// loop moves the bytes of its pairs. Its sockets are in an epoll of their own,
// and that is in a second one, the bell, which Go's poller knows: the bell rings
// once, which wakes the loop's goroutine, and not again before the loop has found
// nothing more to do. Without the bell every packet for a busy loop would wake
// the thread that waits for others' sockets.
//
// Events are told once (EPOLLET). A read that did not fill the buffer has taken
// everything there was, so that waiting begins without a read that finds nothing.
type loop struct {
	socks int      // epoll of the sockets
	bell  *os.File // epoll of socks
	ended chan struct{}

	mu     sync.Mutex
	of     map[int32]*sock // by descriptor
	serial int32           // of the last pair

	// Of the loop's goroutine.
	buf    []byte
	events []syscall.EpollEvent
	again  []*sock // have more to read, and had their turn
}

const (
	loopBuffer = 64 << 10
	loopEvents = 128
	epollET    = 1 << 31 // syscall.EPOLLET is negative
)

func newLoop() (*loop, error) {
	l := &loop{ended: make(chan struct{}), of: map[int32]*sock{}, buf: make([]byte, loopBuffer), events: make([]syscall.EpollEvent, loopEvents)}
	var err error
	if l.socks, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	bell, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		syscall.Close(l.socks)
		return nil, err
	}
	err = errors.Join(syscall.SetNonblock(bell, true), control(bell, syscall.EPOLL_CTL_ADD, l.socks, 0, ringOnce)) // os polls what does not block
	l.bell = os.NewFile(uintptr(bell), "epoll")
	if err != nil {
		l.bell.Close()
		syscall.Close(l.socks)
		return nil, err
	}
	go l.run()
	return l, nil
}

const ringOnce = syscall.EPOLLIN | syscall.EPOLLONESHOT

// run moves bytes until the bell is closed.
func (l *loop) run() {
	defer close(l.ended)
	raw, err := l.bell.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(bell uintptr) bool {
		wait(int(bell), l.events) // it has rung
		for {
			n := wait(l.socks, l.events)
			if n == 0 && len(l.again) == 0 {
				// What came since is told at once.
				return control(int(bell), syscall.EPOLL_CTL_MOD, l.socks, 0, ringOnce) != nil
			}
			again := len(l.again)
			for i := range l.events[:n] {
				e := &l.events[i]
				l.mu.Lock()
				s := l.of[e.Fd]
				l.mu.Unlock()
				if s != nil && s.serial == e.Pad { // else of one that had its number before
					s.pair.handle(s, e.Events)
				}
			}
			for _, s := range l.again[:again] {
				s.pair.handle(s, 0)
			}
			l.again = slices.Delete(l.again, 0, again)
		}
	})
}

// wait returns how many events there are now.
func wait(epoll int, events []syscall.EpollEvent) int {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case syscall.EINTR:
		default:
			return 0
		}
	}
}

func control(epoll, op, fd int, serial int32, events uint32) error {
	e := syscall.EpollEvent{Events: events, Fd: int32(fd), Pad: serial}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// watch asks for events of a socket: for those of reading always, for those of
// writing where something waits for them. Others would wake the loop whenever the
// peer has read something.
func (l *loop) watch(op int, s *sock, write bool) error {
	events := uint32(syscall.EPOLLIN | syscall.EPOLLRDHUP | epollET)
	if write {
		events |= syscall.EPOLLOUT
	}
	return control(l.socks, op, s.fd, s.serial, events)
}
