package hearth_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A console block of README.md is a piece of a session. Its lines after "$ " are
// commands (a here-document continues one), the others are what they print, where
// "…" stands for anything. "```console" is the second terminal, one shell for the
// whole page; "```console first" and any other name are terminals in which a
// command goes on running, until a line "^C", and later blocks are what it prints next.
type block struct {
	line     int
	terminal string
	steps    []step
}

type step struct {
	line    int
	command string   // empty: more output of what runs in this terminal
	want    []string // lines
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func consoleBlocks(text string) []block {
	var all []block
	var b *block
	var end string // of the here-document that is open
	for i, l := range strings.Split(text, "\n") {
		switch {
		case b == nil:
			if name, ok := strings.CutPrefix(l, "```console"); ok {
				b = &block{line: i + 1, terminal: strings.TrimSpace(name)}
			}
		case l == "```":
			all, b = append(all, *b), nil
		case end != "":
			s := &b.steps[len(b.steps)-1]
			s.command += "\n" + l
			if l == end {
				end = ""
			}
		case strings.HasPrefix(l, "$ ") || l == "^C":
			b.steps = append(b.steps, step{line: i + 1, command: strings.TrimPrefix(l, "$ ")})
			if _, word, ok := strings.Cut(l, "<<'"); ok {
				end, _, _ = strings.Cut(word, "'")
			}
		default:
			if len(b.steps) == 0 {
				b.steps = []step{{line: i + 1}}
			}
			s := &b.steps[len(b.steps)-1]
			if strings.TrimSpace(l) != "" {
				s.want = append(s.want, l)
			}
		}
	}
	return all
}

var (
	spaces   = regexp.MustCompile(`\s+`)
	volatile = regexp.MustCompile(`…|request [a-z0-9]+|\b\d+[smh]$|\d+(\.\d+)? (ms|s)\b|\((cold|warm)\)|\d+(\.\d+)?`)
)

// clean takes away what may differ in width.
func clean(line string) string { return spaces.ReplaceAllString(strings.TrimSpace(line), " ") }

// pattern makes a loose expression of a line: numbers, times, request ids and the
// width of columns may differ.
func pattern(line string) *regexp.Regexp {
	var p strings.Builder
	rest := clean(line)
	for {
		at := volatile.FindStringIndex(rest)
		if at == nil {
			break
		}
		p.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		switch m := rest[at[0]:at[1]]; {
		case m == "…":
			p.WriteString(`.*`)
		case strings.HasPrefix(m, "request "):
			p.WriteString(`request \S+`)
		case regexp.MustCompile(`^[0-9]+[smh]$`).MatchString(m): // an age
			p.WriteString(`[0-9]+[smh].*`)
		case strings.HasPrefix(m, "("):
			p.WriteString(`\((cold|warm)\)`)
		case strings.HasSuffix(m, "s"):
			p.WriteString(`[0-9.]+ (µs|ms|s|min)`)
		default:
			p.WriteString(`[0-9.]+`)
		}
		rest = rest[at[1]:]
	}
	p.WriteString(regexp.QuoteMeta(rest))
	return regexp.MustCompile(`^` + p.String() + `$`)
}

// screen collects what a terminal shows; found moves past the lines seen.
type screen struct {
	mu      sync.Mutex
	lines   []string
	changed chan struct{}
	ended   bool
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		s.mu.Lock()
		s.lines = append(s.lines, lines.Text())
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.ended = true
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// await takes the lines up to one that matches.
func (s *screen) await(p *regexp.Regexp, patience time.Duration) (seen []string, ok bool) {
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		for len(s.lines) > 0 {
			l := s.lines[0]
			seen, s.lines = append(seen, l), s.lines[1:]
			if p.MatchString(clean(l)) {
				s.mu.Unlock()
				return seen, true
			}
		}
		changed, ended := s.changed, s.ended
		s.mu.Unlock()
		if ended {
			return seen, false
		}
		select {
		case <-changed:
		case <-deadline:
			return seen, false
		}
	}
}

// terminal is one of the page's windows.
type terminal struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	screen *screen
	done   chan struct{}
}

func open(t *testing.T, dir string, env []string, args ...string) *terminal {
	t.Helper()
	w := &terminal{cmd: exec.Command("bash", args...), screen: newScreen(), done: make(chan struct{})}
	w.cmd.Dir, w.cmd.Env = dir, env
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.cmd.Stdout, w.cmd.Stderr = out, out
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	go w.screen.read(r)
	go func() {
		defer close(w.done)
		w.cmd.Wait()
		r.Close()
	}()
	t.Cleanup(func() { w.interrupt(syscall.SIGINT) })
	return w
}

// interrupt ends what runs in w; what does not end is killed.
func (w *terminal) interrupt(sig syscall.Signal) bool {
	syscall.Kill(-w.cmd.Process.Pid, sig)
	w.in.Close()
	select {
	case <-w.done:
		return true
	case <-time.After(patience):
		syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
		return false
	}
}

// patience is how long a line may take on a busy machine.
const patience = 2 * time.Minute

const prompt = "=== the prompt is back"

// TestReadmeTour does what README.md tells a newcomer to do, with a built binary,
// and compares what is printed.
func TestReadmeTour(t *testing.T) {
	for _, program := range []string{"bash", "curl", "node", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("the tour needs %s; .ci/packages installs it", program)
		}
	}
	_, err := exec.LookPath("kubectl")
	kubectl := err == nil

	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "hearth"), "./cmd/hearth")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	work := filepath.Join(home, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output() // who reads the page has built something with Go before
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"GOCACHE=" + strings.TrimSpace(string(cache)), "HOME=" + home, "PATH=" + bin + ":" + os.Getenv("PATH"), "NO_COLOR=1", "TERM=dumb", "LANG=C.UTF-8"}

	// The page shows the usual ports; here the ports are any that are free.
	gateway, apiPort := freePort(t), freePort(t)
	ports := strings.NewReplacer(":8080", ":"+gateway, ":4000", ":"+apiPort,
		"hearth up", "hearth up --gateway-port "+gateway+" --api-port "+apiPort)

	before, tour, ok := strings.Cut(readme(t), "\n## Five minutes\n")
	if !ok {
		t.Fatal(`README.md has no section "Five minutes"`)
	}
	tour, _, _ = strings.Cut(tour, "\n## ")
	blocks := consoleBlocks(strings.Repeat("\n", strings.Count(before, "\n")+2) + tour)
	if len(blocks) < 15 {
		t.Fatalf("only %d console blocks found; the tour or the parser is broken", len(blocks))
	}

	shell := open(t, work, env)
	windows := map[string]*terminal{}
	for _, b := range blocks {
		for _, s := range b.steps {
			if strings.Contains(s.command, "kubectl ") && !kubectl {
				t.Errorf("README.md:%d needs kubectl, which is not in PATH", s.line)
				continue
			}
			w := shell
			switch {
			case b.terminal == "":
				fmt.Fprintf(shell.in, "%s\necho; echo '%s'\n", ports.Replace(s.command), prompt)
			case s.command == "^C":
				if w = windows[b.terminal]; w == nil {
					t.Fatalf("README.md:%d: nothing runs in the %s terminal", s.line, b.terminal)
				}
				if !w.interrupt(syscall.SIGINT) {
					t.Errorf("README.md:%d: what runs in the %s terminal does not end", s.line, b.terminal)
				}
			case s.command != "":
				w = open(t, work, env, "-c", ports.Replace(s.command))
				windows[b.terminal] = w
			default:
				if w = windows[b.terminal]; w == nil {
					t.Fatalf("README.md:%d: nothing runs in the %s terminal", s.line, b.terminal)
				}
			}
			if b.terminal == "" {
				// Standard output and error meet in one pipe: any order will do.
				seen, ok := w.screen.await(pattern(prompt), patience)
				if !ok {
					t.Fatalf("README.md:%d: %q does not end; it printed\n%s", s.line, s.command, strings.Join(seen, "\n"))
				}
				for _, want := range s.want {
					if !anyMatches(pattern(want), seen) {
						t.Errorf("README.md:%d: after %q\nwant a line like\n%s\nit printed\n%s", s.line, s.command, want, strings.Join(seen, "\n"))
					}
				}
				continue
			}
			var seen []string
			for _, want := range s.want {
				lines, ok := w.screen.await(pattern(want), patience)
				seen = append(seen, lines...)
				if !ok {
					t.Fatalf("README.md:%d: after %q\nwant a line like\n%s\nit printed\n%s", s.line, s.command, want, strings.Join(seen, "\n"))
				}
			}
		}
	}
}

func anyMatches(p *regexp.Regexp, lines []string) bool {
	for _, l := range lines {
		if p.MatchString(clean(l)) {
			return true
		}
	}
	return false
}

func freePort(t *testing.T) string {
	t.Helper()
	// Below those the kernel gives to anybody: what other tests run beside this
	// one must not take it before hearth does.
	for range 1000 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if l, err := net.Listen("tcp", ":"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// TestReadmeMarker: the command the check runs is the one the page shows.
func TestReadmeMarker(t *testing.T) {
	text := readme(t)
	markers := regexp.MustCompile(`(?m)^<!-- test: (.*) -->$`).FindAllStringSubmatch(text, -1)
	if len(markers) != 1 {
		t.Fatalf("README.md has %d test markers, want 1", len(markers))
	}
	if shown := "\n$ " + markers[0][1] + "\n"; !strings.Contains(text, shown) {
		t.Errorf("README.md does not show its test command %q", markers[0][1])
	}
}

// TestReadmeLinks: the files the pages point at are there.
func TestReadmeLinks(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	code := regexp.MustCompile("`((?:[a-z]+/)+[a-zA-Z_.]*)`")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var paths [][]byte
		for _, m := range link.FindAllSubmatch(text, -1) {
			paths = append(paths, m[1])
		}
		if page == "ARCHITECTURE.md" { // its first column names folders
			for _, m := range code.FindAllSubmatch(text, -1) {
				paths = append(paths, m[1])
			}
		}
		for _, p := range paths {
			if _, err := os.Stat(string(bytes.TrimSuffix(p, []byte("/")))); err != nil {
				t.Errorf("%s points at %s: %v", page, p, err)
			}
		}
	}
}
