package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initArg is the word that makes a process sandbox-init.
const initArg = "sandbox-init"

// request is what the host tells sandbox-init, and a held box later.
type request struct {
	Plan  Plan     `json:"plan,omitempty"`
	Args  []string `json:"args,omitempty"`
	Env   []string `json:"env,omitempty"`
	Dir   string   `json:"dir,omitempty"`
	Hold  bool     `json:"hold,omitempty"`
	Init  bool     `json:"init,omitempty"`
	Files int      `json:"files,omitempty"`
	// Fds descriptors follow the message, for the plan; HOME is the one of
	// the user the plan names.
	Fds int `json:"fds,omitempty"`
}

// reply is what sandbox-init answers; exec closes the socket, which says that
// all went well.
type reply struct {
	Stage  string `json:"stage"` // ready (held), exec, started (below init), failed, ran (a task), exit (below init)
	Error  string `json:"error,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Code   int    `json:"code,omitempty"`
	Signal int    `json:"signal,omitempty"`
	ID     int    `json:"id,omitempty"`     // of a task that ran
	Output string `json:"output,omitempty"` // of a task
}

// Main is to be called first thing by main (and TestMain) with os.Args. When
// this process was started as sandbox-init it does that and never returns;
// otherwise it returns false and has done nothing.
func Main(args []string) (handled bool) {
	if len(args) != 3 || args[1] != initArg {
		return false
	}
	fd, err := strconv.Atoi(args[2])
	if err != nil {
		return false
	}
	runtime.LockOSThread()
	syscall.Exit(sandboxInit(fd)) // nothing of the program this binary is otherwise has to be wound up
	return true
}

func sandboxInit(fd int) int {
	c := wire(fd)
	var q request
	if err := c.receive(&q); err != nil {
		return 125 // the host is gone
	}
	closeOnExec(3 + q.Files)
	fail := func(code int, err error) int {
		var e syscall.Errno
		errors.As(err, &e)
		c.send(reply{Stage: "failed", Error: err.Error(), Errno: int(e)})
		return code
	}
	x := &executor{everyThread: q.Init}
	if err := c.plan(x, q); err != nil {
		return fail(125, err)
	}
	if q.Hold {
		if err := c.send(reply{Stage: "ready"}); err != nil {
			return 125
		}
		next := request{}
		if err := c.receive(&next); err != nil {
			return 125
		}
		if err := c.plan(x, next); err != nil {
			return fail(125, err)
		}
		q.Args, q.Env, q.Dir = next.Args, next.Env, next.Dir
	}
	if x.home != "" && !has(q.Env, "HOME") {
		q.Env = append(q.Env, "HOME="+x.home)
	}
	if len(q.Args) == 0 {
		return fail(127, errors.New("no program given"))
	}
	if q.Dir != "" {
		if err := unix.Chdir(q.Dir); err != nil {
			return fail(127, fmt.Errorf("working folder %s: %w", q.Dir, err))
		}
	}
	path, err := lookPath(q.Args[0], pathOf(q.Env))
	if err != nil {
		return fail(127, err)
	}
	if q.Init {
		return miniInit(c, path, q, fail)
	}
	// The end of the socket after this, by exec, says that all went well. When the
	// host ended before the signal at its death was set, this does not arrive.
	if err := c.send(reply{Stage: "exec"}); err != nil {
		return 125
	}
	err = whileBusy(func() error { return syscall.Exec(path, q.Args, q.Env) })
	return fail(126, fmt.Errorf("%s: %w", path, err))
}

// miniInit stays as process 1: it starts the program, forwards signals, reaps,
// and ends as the program ends.
func miniInit(c wire, path string, q request, fail func(int, error) int) int {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	files := make([]uintptr, 3+q.Files)
	for i := range files {
		files[i] = uintptr(i)
	}
	var pid int
	err := whileBusy(func() (err error) {
		pid, err = syscall.ForkExec(path, q.Args, &syscall.ProcAttr{Env: q.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
		return err
	})
	if err != nil {
		return fail(126, fmt.Errorf("%s: %w", path, err))
	}
	for i := range q.Files { // the program's alone: its peers must see them close
		unix.Close(3 + i)
	}
	if err := c.send(reply{Stage: "started"}); err != nil {
		return 125 // the host is gone; the program ends with this process
	}
	children := make(chan struct{}, 1)
	children <- struct{}{}
	go func() {
		for s := range signals {
			if s == syscall.SIGCHLD {
				select {
				case children <- struct{}{}:
				default:
				}
				continue
			}
			if n, ok := s.(syscall.Signal); ok && n != syscall.SIGURG && n != syscall.SIGPIPE {
				syscall.Kill(pid, n)
			}
		}
	}()
	t := &tasks{wire: c, env: q.Env, running: map[int]*running{}}
	asked := make(chan task)
	go t.serve(asked)
	for { // this thread starts all programs: it surely is the box's user
		select {
		case q := <-asked:
			t.take(q)
		case <-children:
			for {
				var st syscall.WaitStatus
				got, err := syscall.Wait4(-1, &st, syscall.WNOHANG, nil)
				if err == syscall.EINTR {
					continue
				}
				if err != nil || got == 0 {
					break
				}
				if got != pid {
					t.ended(got, st)
					continue
				}
				if st.Signaled() {
					t.send(reply{Stage: "exit", Code: -1, Signal: int(st.Signal())})
					return 128 + int(st.Signal())
				}
				t.send(reply{Stage: "exit", Code: st.ExitStatus()})
				return st.ExitStatus()
			}
		}
	}
}

// whileBusy runs a program. A file that was just written is busy until every
// process forked meanwhile, which has its descriptor too, has exec'ed: some
// milliseconds.
func whileBusy(run func() error) (err error) {
	for range 100 {
		if err = run(); err != syscall.ETXTBSY {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

// plan takes the descriptors that come with a request and carries out its plan.
func (w wire) plan(x *executor, q request) (err error) {
	if q.Fds > 0 {
		if x.fds, err = w.receiveFds(q.Fds); err != nil {
			return err
		}
	}
	return x.run(q.Plan)
}

// receiveFds takes descriptors, which come with a byte of their own.
func (w wire) receiveFds(n int) ([]int, error) {
	oob := make([]byte, unix.CmsgSpace(4*n))
	for {
		_, oobn, _, _, err := unix.Recvmsg(int(w), make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(msgs) != 1 {
			return nil, fmt.Errorf("no descriptors came along: %v", err)
		}
		return unix.ParseUnixRights(&msgs[0])
	}
}

func has(env []string, name string) bool {
	for _, e := range env {
		if strings.HasPrefix(e, name+"=") {
			return true
		}
	}
	return false
}

func pathOf(env []string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			return v
		}
	}
	return defaultPath
}

// closeOnExec keeps every descriptor from first on out of the program.
func closeOnExec(first int) {
	if unix.CloseRange(uint(first), ^uint(0)>>1&0xffffffff, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := first; fd < 1024; fd++ {
		unix.CloseOnExec(fd)
	}
}

// wire is the socket between host and sandbox-init: messages of a length and
// JSON. It is used below the runtime's poller, because the thread is locked.
type wire int

func (w wire) send(v any) error {
	b, err := frame(v)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n, err := unix.Write(int(w), b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (w wire) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(w), b)
		if err == unix.EINTR {
			continue
		}
		if n == 0 && err == nil {
			return 0, io.EOF
		}
		return max(n, 0), err
	}
}

func (w wire) receive(v any) error { return receive(w, v) }

const maxMessage = 4 << 20

func frame(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(body) > maxMessage {
		return nil, fmt.Errorf("arguments and environment are longer than %d bytes", maxMessage)
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...), nil
}

func receive(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage {
		return fmt.Errorf("a message of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
