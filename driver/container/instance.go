package container

import (
	"cmp"
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/life"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/sandbox"
)

// instance is a running pod. It ends with the first of its containers.
type instance struct {
	*life.Life
	engine   *Engine
	spec     *engine.Spec
	id       string
	shared   *sandbox.Shared
	images   map[string]*image.Image
	volumes  map[string]*sandbox.Volume
	extra    []engine.Mount // of the files every instance may have
	blank    *sandbox.Box   // a box that waits for a program; nil: none
	blankOut *output
	address  string
	boxes    []*box // as the pod's containers; fixed once watch runs

	mu     sync.Mutex
	held   []*box // all that were started, init containers too
	copies []string
	why    string // of an end that is ours; empty: there is none to tell
	over   bool   // nothing is renewed any more
	asked  []asked

	findFacts sync.Once
	facts     *strings.Replacer
	renewals  []renewal
	renewing  sync.WaitGroup

	steady steady
	told   atomic.Bool // to end

	left bool // under the engine's lock: it is no longer one of the engine's

	ending chan struct{} // closed when the first container has ended
	first  *box          // that ended; valid once ending is closed
}

var (
	_ engine.Measured = (*instance)(nil)
	_ engine.Probed   = (*instance)(nil)
)

func newInstance(e *Engine, s *engine.Spec, b *blank, images map[string]*image.Image) *instance {
	return &instance{
		Life: life.New(), engine: e, spec: s, id: b.id, shared: b.shared, images: images, volumes: map[string]*sandbox.Volume{}, blank: b.box, blankOut: b.out,
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Pod.Port)), ending: make(chan struct{}), steady: newSteady(),
	}
}

// named tells whether lines and reasons have to say which container they are
// about.
func (i *instance) named() bool { return len(i.spec.Pod.Containers)+len(i.spec.Pod.Init) > 1 }

func (i *instance) hold(b *box) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held = append(i.held, b)
}

func (i *instance) addCopy(dir string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.copies = append(i.copies, dir)
}

// ID implements engine.Instance.
func (i *instance) ID() string { return i.id }

// Protocol implements engine.Instance.
func (i *instance) Protocol() string { return i.spec.Pod.Protocol }

// Dial implements engine.Instance.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	return i.shared.Dial(ctx, "tcp", i.address)
}

// Usage implements engine.Measured.
func (i *instance) Usage() (engine.Usage, error) {
	var sum engine.Usage
	for _, b := range i.boxes {
		u, err := b.Usage()
		if err != nil {
			return engine.Usage{}, err
		}
		sum.CPU += u.CPU
		sum.MemoryBytes += u.MemoryBytes
		sum.Processes += u.Processes
	}
	return sum, nil
}

// watch waits for the end of the first container, and of the others, which it
// kills unless all were asked to end, and releases what the instance held. It
// runs once, when all containers were started as far as they could be.
func (i *instance) watch() {
	var exit engine.Exit
	ended := make(chan *box, len(i.boxes))
	n := 0
	for _, b := range i.boxes {
		if b != nil {
			n++
			go func() { <-b.Done(); ended <- b }()
		}
	}
	if n > 0 {
		i.first = <-ended
		exit = i.first.Exit()
		exit.Reason = i.reason(i.first, exit)
	}
	close(i.ending)
	for _, b := range i.boxes {
		if b != nil {
			if !i.told.Load() { // else it has time to end by itself
				b.Kill()
			}
			<-b.Done()
		}
	}
	if i.first != nil && i.unexpected(exit) {
		i.first.out.read.Drain()
		i.first.out.emit("stderr", "instance "+exit.Reason)
	}
	i.clean()
	i.engine.leave(i)
	i.End(exit)
}

// reason says how the instance ended, by the end of its first container.
func (i *instance) reason(b *box, x engine.Exit) string {
	i.mu.Lock()
	why := i.why
	i.mu.Unlock()
	switch {
	case why != "" && !x.OOM:
		return why
	case i.Asked() && !x.OOM:
		return "stopped"
	case i.named():
		return b.spec.Name + " " + x.Reason
	}
	return x.Reason
}

// unexpected reports whether the end is worth a line in the log.
func (i *instance) unexpected(x engine.Exit) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return x.OOM || i.why != "" || !i.Asked() && x.Reason != "killed"
}

// clean releases everything; all boxes have ended.
func (i *instance) clean() {
	if i.blank != nil {
		i.blank.Kill()
		<-i.blank.Done()
	}
	i.mu.Lock()
	i.over = true
	i.mu.Unlock()
	i.renewing.Wait()
	i.shared.Close()
	release(i.images)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, dir := range i.copies {
		if err := os.RemoveAll(dir); err != nil {
			i.engine.log.Warn("cannot remove the copy of an image", "instance", i.id, "err", err)
		}
	}
}

// abandon ends an instance that did not come up, and waits.
func (i *instance) abandon() {
	i.mu.Lock()
	held := i.held
	i.mu.Unlock()
	for _, b := range held {
		b.Kill()
		<-b.Done()
	}
	if i.boxes == nil { // watch does not run
		i.clean()
		return
	}
	<-i.Done()
}

func (e *Engine) leave(i *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i.left = true
	delete(e.instances, i)
}

// because keeps the first reason there is for an end of ours.
func (i *instance) because(why string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.why == "" {
		i.why = why
	}
}

// kill ends the instance at once; why is its reason, if there is one to tell.
func (i *instance) kill(why string) {
	i.because(why)
	for _, b := range i.boxes {
		b.Kill()
	}
}

// dismiss ends an instance that is of no more use: it takes no new calls, and
// has grace to end by itself. It returns at the end.
func (i *instance) dismiss(why string, grace time.Duration) {
	i.because(why)
	i.steady.set(nil, false)
	i.ask()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-i.Done():
	case <-t.C:
		i.kill("")
	}
}

// grace is how long the instance has to end by itself.
func (i *instance) grace() time.Duration { return cmp.Or(i.spec.Pod.Grace, i.engine.o.Grace) }

// Stop implements engine.Instance: every container gets its image's stop signal
// and the pod's time to end.
func (i *instance) Stop(ctx context.Context) error {
	i.Life.Stop(ctx, i.grace(), i.ask, func() { i.kill("") })
	return nil
}

// ask tells every container, once, that it shall end.
func (i *instance) ask() {
	if i.told.Swap(true) {
		return
	}
	for _, b := range i.boxes {
		sig := stopSignal(b.img.Config.StopSignal)
		if b.Catches(sig) {
			b.Signal(sig)
		} else {
			b.Kill() // as process 1 it would not even notice the signal that would have ended it
		}
	}
}

// stopSignal reads an image's StopSignal.
func stopSignal(s string) syscall.Signal {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	if n := signalNumber(s); n != 0 {
		return n
	}
	return syscall.SIGTERM
}
