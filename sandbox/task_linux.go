package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// task asks a mini init to run one more program in its box, or to end it.
type task struct {
	ID   int      `json:"id"`
	Args []string `json:"args,omitempty"`
	Kill bool     `json:"kill,omitempty"`
}

// maxOutput is how much of a task's output is kept.
const maxOutput = 4 << 10

// Do runs a program beside the box's own, as its user, with its environment and
// working folder, and returns how it ended and the first 4 KiB it printed. The
// box needs Config.Init. When ctx ends first the program is killed and ctx.Err() returned.
func (b *Box) Do(ctx context.Context, args []string) (engine.Exit, string, error) {
	var none engine.Exit
	b.mu.Lock()
	if b.reported == nil || b.ended {
		b.mu.Unlock()
		return none, "", api.Errorf(api.CodeInvalid, "box %s runs nothing beside its program", b.id)
	}
	b.serial++
	id, answer := b.serial, make(chan reply, 1)
	if b.tasks == nil {
		b.tasks = map[int]chan reply{}
	}
	b.tasks[id] = answer
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.tasks, id)
		b.mu.Unlock()
	}()
	if err := b.ask(task{ID: id, Args: args}); err != nil {
		return none, "", err
	}
	select {
	case r, ok := <-answer:
		if !ok {
			return none, "", api.Errorf(api.CodeNotFound, "box %s has ended", b.id)
		}
		if r.Error != "" {
			return none, "", &StartError{Text: r.Error, Errno: syscall.Errno(r.Errno)}
		}
		e := engine.Exit{Code: r.Code, At: time.Now()}
		if r.Signal != 0 {
			e.Code, e.Signal = -1, unix.SignalName(syscall.Signal(r.Signal))
		}
		e.Reason = reason(e, false, b.limits)
		return e, r.Output, nil
	case <-ctx.Done():
		b.ask(task{ID: id, Kill: true})
		return none, "", ctx.Err()
	}
}

func (b *Box) ask(t task) error {
	msg, err := frame(t)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "%v", err)
	}
	b.asking.Lock()
	defer b.asking.Unlock()
	if _, err := b.wire.Write(msg); err != nil {
		return api.Errorf(api.CodeNotFound, "box %s has ended", b.id).WithCause(err)
	}
	return nil
}

// reports reads what a mini init says: how tasks ended, and at last how the
// program did.
func (b *Box) reports() {
	defer close(b.reported)
	defer b.forgetTasks()
	for {
		var r reply
		if receive(b.wire, &r) != nil {
			return
		}
		if r.Stage == "exit" {
			b.report.Store(&r)
			return
		}
		b.mu.Lock()
		if c := b.tasks[r.ID]; c != nil {
			c <- r
			delete(b.tasks, r.ID)
		}
		b.mu.Unlock()
	}
}

func (b *Box) forgetTasks() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, c := range b.tasks {
		close(c)
		delete(b.tasks, id)
	}
}

// tasks are the programs a mini init runs besides the one it is for.
type tasks struct {
	wire wire
	env  []string

	running map[int]*running // of the one thread that starts and reaps
	sending sync.Mutex
}

type running struct {
	id   int
	pid  int
	out  bytes.Buffer
	read chan struct{}
}

func (t *tasks) send(r reply) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.wire.send(r)
}

// serve hands tasks on until the host is gone.
func (t *tasks) serve(asked chan<- task) {
	debug.SetGCPercent(50) // this process lives as long as the box
	for {
		var q task
		if t.wire.receive(&q) != nil {
			return
		}
		asked <- q
	}
}

func (t *tasks) take(q task) {
	if q.Kill {
		t.kill(q.ID)
		return
	}
	if err := t.start(q); err != nil {
		r := reply{Stage: "ran", ID: q.ID, Error: err.Error()}
		var e syscall.Errno
		if errors.As(err, &e) {
			r.Errno = int(e)
		}
		t.send(r)
	}
}

func (t *tasks) start(q task) error {
	if len(q.Args) == 0 {
		return fmt.Errorf("no program given")
	}
	path, err := lookPath(q.Args[0], pathOf(t.env))
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	pid, err := syscall.ForkExec(path, q.Args, &syscall.ProcAttr{Env: t.env, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		r.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	k := &running{id: q.ID, pid: pid, read: make(chan struct{})}
	t.running[pid] = k
	go func() {
		defer close(k.read)
		defer r.Close()
		io.CopyN(&k.out, r, maxOutput)
		io.Copy(io.Discard, r)
	}()
	return nil
}

func (t *tasks) kill(id int) {
	for pid, k := range t.running {
		if k.id == id {
			syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}

// ended says how a child ended, if it was a task.
func (t *tasks) ended(pid int, st syscall.WaitStatus) {
	k := t.running[pid]
	delete(t.running, pid)
	if k == nil {
		return
	}
	go func() {
		select {
		case <-k.read:
		case <-time.After(100 * time.Millisecond): // what it started holds the pipe
			t.send(reply{Stage: "ran", ID: k.id, Code: st.ExitStatus(), Signal: signalOf(st)})
			return
		}
		t.send(reply{Stage: "ran", ID: k.id, Code: st.ExitStatus(), Signal: signalOf(st), Output: k.out.String()})
	}()
}

func signalOf(st syscall.WaitStatus) int {
	if st.Signaled() {
		return int(st.Signal())
	}
	return 0
}
