package process

import (
	"context"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/sandbox"
)

// warm is a started instance without user code.
type warm struct {
	id      string
	box     *sandbox.Box
	out     *output
	socket  string                   // path of its listening socket; empty if it has none
	volume  string                   // host folder of a Fission environment's code
	control *frame.Client            // loaders only
	spare   atomic.Pointer[net.Conn] // see connect; loaders only
	born    time.Time
	memory  int64 // bytes it used when it was ready; 0: not known
}

// ready notes when w was ready and what it costs.
func (w *warm) ready() {
	w.born = time.Now()
	if u, err := w.box.Usage(); err == nil {
		w.memory = u.MemoryBytes
	}
}

// explainStart is the error of a warm instance that did not come up; no user
// code is involved, so its output is for the operator as well.
func (w *warm) explainStart(err error, runtime string) error {
	e := api.Errorf(api.CodeStartFailed, "runtime %s does not start", runtime).WithHint("hearth doctor").WithCause(err)
	if w.ended() {
		e = api.Errorf(api.CodeStartFailed, "runtime %s does not start: %s", runtime, w.box.Exit().Reason).WithHint("hearth doctor").WithCause(err)
	}
	e.Detail = w.out.lastWords()
	return e
}

func (w *warm) ended() bool {
	select {
	case <-w.box.Done():
		return true
	default:
		return false
	}
}

// aged says that w was ready for a while, so that its death is not its start's.
func (w *warm) aged() bool { return time.Since(w.born) > time.Second }

// hurry lets an instance that was started in the background run at the speed
// of everyone else; it is about to be needed.
func (w *warm) hurry() { renice(w.box.Pid(), 0) }

// kill ends w and returns when nothing of it is left.
func (w *warm) kill() {
	w.box.Kill()
	<-w.box.Done()
	w.clean()
}

func (w *warm) clean() {
	if w.control != nil {
		w.control.Close()
	}
	if c := w.spare.Swap(nil); c != nil {
		(*c).Close()
	}
	if w.socket != "" {
		os.Remove(w.socket)
	}
	if w.volume != "" {
		os.RemoveAll(w.volume)
	}
}

// explain makes of a failed specialisation what its author should read.
func (w *warm) explain(err error, s *engine.Spec) error {
	exit := engine.Exit{}
	if w.ended() {
		exit = w.box.Exit()
	}
	e := api.AsError(err)
	if e.Code == api.CodeLoadFailed && e.Detail != "" && !exit.OOM {
		return e
	}
	words := w.out.lastWords()
	switch {
	case exit.OOM:
		e = api.Errorf(api.CodeLoadFailed, "%s ran out of memory while it was loaded", s.Function).
			WithHint("raise spec.limits.memory of the function").WithCause(err)
	case e.Code == api.CodeLoadFailed:
	case exit.Reason != "" && exit.Reason != "stopped" && !strings.HasPrefix(exit.Reason, "killed by hearth"):
		e = api.Errorf(api.CodeStartFailed, "%s did not start: %s", s.Function, exit.Reason).WithCause(err)
	case e.Code == api.CodeInternal:
		e = api.Errorf(api.CodeStartFailed, "%s did not start", s.Function).WithCause(err)
	}
	if e.Detail == "" {
		e.Detail = words
	}
	if e.Detail == "" {
		e.Detail = e.Message
	}
	return e
}

func (w *warm) dialSocket(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", w.socket)
}

// connect opens a connection for the first who dials, so that the first call
// need not wait until the loader has accepted it.
func (w *warm) connect(ctx context.Context) error {
	c, err := w.dialSocket(ctx)
	if err == nil {
		w.spare.Store(&c)
	}
	return err
}

// dial gives the connection there is, or opens one.
func (w *warm) dial(ctx context.Context) (net.Conn, error) {
	if c := w.spare.Swap(nil); c != nil {
		if !w.ended() {
			return *c, nil
		}
		(*c).Close()
	}
	return w.dialSocket(ctx)
}
