package relay

import (
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// sock is one socket of a pair. All of it is guarded by its pair's lock.
type sock struct {
	fd     int
	serial int32 // of its pair: descriptors are used again
	pair   *joined
	peer   *sock
	rest   []byte // what did not fit, to be written when there is room; nil: nothing

	n     int64     // bytes from it that were passed on
	last  time.Time // when some came
	ready bool      // there may be something to read
	whole bool      // and all of it is to be read up to the end, of which an event has told
	eof   bool      // nothing more comes
	gone  bool      // and nothing can be written
	busy  bool      // on the loop's list of those with more to read
}

// joined is a pair of sockets in a loop.
type joined struct {
	l      *loop
	r      *Relay
	limits Limits
	ended  func(fromA, fromB int64)

	mu    sync.Mutex
	a, b  sock
	timer *time.Timer // of the limits; nil: there are none
	over  bool
}

func (l *loop) join(r *Relay, p *Pair, a, b int) {
	j := &joined{l: l, r: r, limits: p.Limits, ended: p.Ended}
	now := time.Now()
	j.a = sock{fd: a, pair: j, peer: &j.b, last: now}
	j.b = sock{fd: b, pair: j, peer: &j.a, last: now}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !r.add(j) {
		j.close()
		return
	}
	l.mu.Lock()
	l.serial++
	j.a.serial, j.b.serial = l.serial, l.serial
	l.of[int32(a)], l.of[int32(b)] = &j.a, &j.b
	l.mu.Unlock()
	if at := j.limits.Next(now, now); !at.IsZero() {
		j.timer = time.AfterFunc(time.Until(at), j.look)
	}
	if l.watch(syscall.EPOLL_CTL_ADD, &j.a, false) != nil || l.watch(syscall.EPOLL_CTL_ADD, &j.b, false) != nil {
		j.close()
		return
	}
	if j.pass(&j.a, p.FromA) {
		j.pass(&j.b, p.FromB)
	}
}

// end implements pair.
func (j *joined) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.close()
}

// close is end with the lock.
func (j *joined) close() {
	if j.over {
		return
	}
	j.over = true
	if j.timer != nil {
		j.timer.Stop()
	}
	j.l.mu.Lock()
	for _, s := range [...]*sock{&j.a, &j.b} {
		if j.l.of[int32(s.fd)] == s {
			delete(j.l.of, int32(s.fd))
		}
	}
	j.l.mu.Unlock()
	syscall.Close(j.a.fd)
	syscall.Close(j.b.fd)
	j.a.rest, j.b.rest = nil, nil
	j.r.done(j, j.ended, j.a.n, j.b.n)
}

// look ends j if a limit is reached.
func (j *joined) look() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over {
		return
	}
	if d := time.Until(j.limits.Next(j.a.last, j.b.last)); d > 0 {
		j.timer.Reset(d)
		return
	}
	j.close()
}

// handle does what events of s allow. It is called by the loop.
func (j *joined) handle(s *sock, events uint32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over {
		return
	}
	if events == 0 {
		s.busy = false
	}
	if events&syscall.EPOLLOUT != 0 && s.rest != nil && !j.drain(s) {
		return
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		s.ready = true
		s.whole = s.whole || events&^(syscall.EPOLLIN|syscall.EPOLLOUT) != 0
		s.gone = s.gone || events&(syscall.EPOLLHUP|syscall.EPOLLERR) != 0
	}
	if s.eof && s.gone {
		j.finish(s) // it had ended its half before
		return
	}
	j.read(s)
}

// turn is how many full buffers one socket may send while others wait.
const turn = 4

// read passes on what has come from s, as far as its peer takes it.
func (j *joined) read(s *sock) {
	for i := 0; s.ready && !s.eof && s.peer.rest == nil; i++ {
		if i == turn {
			if !s.busy {
				s.busy = true
				j.l.again = append(j.l.again, s)
			}
			return
		}
		n, errno := transfer(syscall.SYS_RECVFROM, s.fd, j.l.buf)
		switch {
		case errno == syscall.EAGAIN:
			s.ready = false
			return
		case errno != 0:
			j.close()
			return
		case n == 0:
			s.eof = true
			j.finish(s)
			return
		}
		s.last = time.Now()
		s.ready = n == len(j.l.buf) || s.whole
		if !j.pass(s, j.l.buf[:n]) {
			return
		}
	}
}

// pass writes what came from s to its peer and keeps what does not fit; false:
// j has ended.
func (j *joined) pass(s *sock, p []byte) bool {
	to := s.peer
	for len(p) > 0 {
		n, errno := transfer(syscall.SYS_SENDTO, to.fd, p)
		if errno == syscall.EAGAIN {
			to.rest = append([]byte(nil), p...)
			if j.l.watch(syscall.EPOLL_CTL_MOD, to, true) == nil {
				return true
			}
		}
		if errno != 0 {
			j.close()
			return false
		}
		s.n += int64(n)
		p = p[n:]
	}
	return true
}

// drain writes what waits for s; false: j has ended.
func (j *joined) drain(s *sock) bool {
	for len(s.rest) > 0 {
		n, errno := transfer(syscall.SYS_SENDTO, s.fd, s.rest)
		switch errno {
		case 0:
		case syscall.EAGAIN:
			return true
		default:
			j.close()
			return false
		}
		s.peer.n += int64(n)
		s.rest = s.rest[n:]
	}
	s.rest = nil
	if j.l.watch(syscall.EPOLL_CTL_MOD, s, false) != nil {
		j.close()
		return false
	}
	if s.peer.eof {
		j.finish(s.peer)
	} else {
		j.read(s.peer)
	}
	return !j.over
}

// finish passes the end of s on, when all that came before it was.
func (j *joined) finish(s *sock) {
	if s.peer.rest != nil {
		return // drain comes back
	}
	if s.gone || s.peer.eof && s.rest == nil {
		j.close()
		return
	}
	if syscall.Shutdown(s.peer.fd, syscall.SHUT_WR) != nil {
		j.close()
	}
}

// transfer is recvfrom or sendto. The sockets do not block.
func transfer(call uintptr, fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}
