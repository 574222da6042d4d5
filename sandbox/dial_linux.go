package sandbox

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects from inside the box's network namespace, so that 127.0.0.1 is
// the box's own. The address has to be numeric. The caller closes the connection.
func (b *Box) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if network == "unix" {
		address = fmt.Sprintf("/proc/%d/root%s", b.pid, address)
	}
	var d net.Dialer
	if !b.ownNet || network == "unix" {
		return d.DialContext(ctx, network, address)
	}
	return within(b, func() (net.Conn, error) { return d.DialContext(ctx, network, address) })
}

// Listen opens a listener of this process inside the box's network namespace.
// The caller closes it; it outlives the box otherwise.
func (b *Box) Listen(network, address string) (net.Listener, error) {
	if !b.ownNet {
		return net.Listen(network, address)
	}
	return within(b, func() (net.Listener, error) { return net.Listen(network, address) })
}

// within runs f on a thread inside the box's network namespace: a socket
// belongs for good to the namespace of the thread that made it.
func within[T any](b *Box, f func() (T, error)) (T, error) {
	var none T
	ns, err := b.namespace("net")
	if err != nil {
		return none, err
	}
	defer unix.Close(ns)
	return inNamespace(ns, f)
}

func inNamespace[T any](ns int, f func() (T, error)) (v T, err error) {
	aside(func() (clean bool) {
		home, e := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if e != nil {
			err = e
			return true
		}
		defer unix.Close(home)
		if err = unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			return true
		}
		v, err = f()
		return unix.Setns(home, unix.CLONE_NEWNET) == nil
	})
	return v, err
}

// aside runs f on a locked thread and waits. The thread is thrown away unless f
// says it is clean. It is never the process' first one: that cannot end, and
// /proc/self would show the namespaces it was left in.
func aside(f func() (clean bool)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			aside(f) // elsewhere, as this thread is taken until then
			runtime.UnlockOSThread()
			return
		}
		if f() {
			runtime.UnlockOSThread()
		}
	}()
	<-done
}
