package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// family are the processes that descend from pid, as the machine sees them.
func family(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		i := bytes.LastIndexByte(b, ')')
		fields := strings.Fields(string(b[i+1:]))
		own, _ := strconv.Atoi(strings.Split(f, "/")[2])
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], own)
	}
	var all []int
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		all = append(all, children[todo[0]]...)
		todo = append(todo, children[todo[0]]...)
	}
	return all
}

// alive are those of pids that still run (a zombie does not).
func alive(pids []int) (left []int) {
	for _, p := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err == nil && !strings.Contains(string(b), ") Z ") {
			left = append(left, p)
		}
	}
	return left
}

// groups are the cgroups that name a hearth of this state folder.
func groups(pid int) (dirs []string) {
	for _, p := range append(family(pid), pid) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p))
		for line := range strings.Lines(string(b)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if i := strings.Index(parts[2], "/hearth-"); i >= 0 {
				name, _, _ := strings.Cut(parts[2][i+1:], "/")
				for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/" + strings.TrimPrefix(parts[1], "name=")} {
					if d := root + parts[2][:i+1] + name; len(parts[1]) > 0 || root == "/sys/fs/cgroup" {
						dirs = append(dirs, d)
					}
				}
			}
		}
	}
	return dirs
}

const slow = `import fs from 'fs'
export default async (event) => {
	if (event.path === '/wait') { const until = Date.now() + 1500; console.log('waiting'); while (Date.now() < until) await new Promise(r => setTimeout(r, 10)) }
	return 'served'
}`

func TestDrain(t *testing.T) {
	s := up(t)
	s.deploy("slow", "runtime: node\nconcurrency: 4\n"+inline(slow))
	s.deploy("child", "runtime: python\n"+inline("import subprocess\ndef main():\n    subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM HUP INT; sleep 1000 & wait'], start_new_session=True)\n    return 'started'\n"))
	if got := s.must("child", "/"); got != "started" {
		t.Fatal(got)
	}
	s.must("slow", "/")
	pids, dirs := family(s.pid), groups(s.pid)
	if len(pids) < 3 {
		t.Fatalf("hearth has the processes %v only", pids)
	}
	answered := make(chan answer, 1)
	go func() { answered <- s.get("slow", "/wait") }()
	s.awaitLine("slow", "waiting")
	begin := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	a := <-answered
	if a.status != 200 || a.body != "served" {
		t.Errorf("the call in progress got %s", a)
	}
	<-s.done
	if s.result != nil {
		t.Errorf("hearth ended with %v", s.result)
	}
	if took := time.Since(begin); took > 25*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if left := alive(pids); len(left) > 0 {
		t.Errorf("processes %v of %v are left", left, pids)
	}
	for _, d := range dirs {
		if _, err := os.Stat(d); err == nil {
			t.Errorf("cgroup %s is left", d)
		}
	}
	if !strings.Contains(s.err.String(), "stopped; kept in") {
		t.Error("it does not say that it stopped")
	}
}

// awaitLine follows a function's log until a line says so.
func (s *server) awaitLine(name, text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for l, err := range s.c.Logs(ctx, logsOf(name)) {
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.Contains(l.Text, text) {
			return
		}
	}
	s.t.Fatalf("%s did not write %q", name, text)
}

func TestKilledAndStartedAgain(t *testing.T) {
	state := t.TempDir()
	s := launch(t, state)
	if err := s.apply("Secret", "key", "stringData: {word: kept}\n"); err != nil {
		t.Fatal(err)
	}
	s.deploy("js", "runtime: node\nenv: [{name: WORD, valueFrom: {secretKeyRef: {name: key, key: word}}}]\n"+inline("export default () => process.env.WORD"))
	s.deploy("py", "runtime: python\nscale: {min: 1}\n"+inline("def main():\n    return 'python'\n"))
	s.deploy("net", "runtime: command\nnetwork: private\ncommand: [node, s.js]\n"+files(map[string]string{"s.js": "require('http').createServer((q, r) => r.end('program')).listen(process.env.PORT)"}))
	s.deploy("child", "runtime: python\n"+inline("import subprocess\ndef main():\n    subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM HUP INT; sleep 1000 & wait'], start_new_session=True)\n    return 'started'\n"))
	for n, want := range map[string]string{"js": "kept", "py": "python", "net": "program", "child": "started"} {
		if got := s.must(n, "/"); got != want {
			t.Fatalf("%s: %q", n, got)
		}
	}
	pids, links := family(s.pid), s.links()
	if len(links) == 0 {
		t.Log("no private networks on this machine")
	}
	var boxes []string
	for _, d := range groups(s.pid) {
		sub, _ := filepath.Glob(d + "/*/cgroup.procs")
		for _, f := range sub {
			boxes = append(boxes, filepath.Dir(f))
		}
	}
	if len(boxes) == 0 {
		t.Log("no cgroups on this machine")
	}
	s.kill()
	eventually(t, patience, fmt.Sprintf("the processes %v are gone", pids), func() bool { return len(alive(pids)) == 0 })
	if t.Failed() {
		for _, p := range alive(pids) {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
			t.Logf("%d %s", p, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}

	n := upIn(t, state)
	for name, want := range map[string]string{"js": "kept", "py": "python", "net": "program"} {
		begin := time.Now()
		if got := n.must(name, "/"); got != want {
			t.Errorf("%s after the restart: %q", name, got)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
	f, err := client.As[api.Function](n.c.Get(t.Context(), kind("Function"), "js"))
	if err != nil || f.Status.LatestReadyRevision != "js-1" || f.Status.RevisionCount != 1 {
		t.Errorf("js after the restart: %+v %v", f, err)
	}
	if sec, err := client.As[api.Secret](n.c.Get(t.Context(), kind("Secret"), "key")); err != nil || string(sec.Data["word"]) != "kept" {
		t.Errorf("the secret after the restart: %v", err)
	}
	for _, d := range boxes {
		if _, err := os.Stat(d); err == nil {
			t.Errorf("cgroup %s of the dead hearth is left", d)
		}
	}
	eventually(t, patience, "no link of the dead hearth is left", func() bool {
		all, err := net.Interfaces()
		return err == nil && !slices.ContainsFunc(all, func(i net.Interface) bool { return slices.Contains(links, i.Index) })
	})
}

// links are the numbers of the network links that s made. Others make some at
// the same time; a number is not given twice.
func (s *server) links() (own []int) {
	dir, err := filepath.EvalSymlinks(s.state)
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(filepath.Join(dir, "sandbox")))
	all, err := net.Interfaces()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, i := range all {
		if strings.HasPrefix(i.Name, fmt.Sprintf("hv%x-", sum[:3])) {
			own = append(own, i.Index)
		}
	}
	return own
}

func TestRestartIsQuick(t *testing.T) {
	state := t.TempDir()
	s := launch(t, state)
	for i := range 20 {
		if err := s.apply("Function", fmt.Sprintf("f%d", i), spec("runtime: node\n"+inline(fmt.Sprintf("export default () => 'f%d'", i)))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		s.verdict("default", fmt.Sprintf("f%d", i), 1)
	}
	s.stop()
	begin := time.Now()
	n := upIn(t, state)
	ready := time.Since(begin)
	if got := n.must("f7", "/"); got != "f7" {
		t.Errorf("f7 answers %q", got)
	}
	served := time.Since(begin) - ready
	t.Logf("ready in %s, first answer %s after", ready, served)
	if ready > 500*time.Millisecond*slack {
		t.Errorf("ready after %s, want 0.5 s", ready)
	}
	if served > time.Second*slack {
		t.Errorf("the first answer came %s after", served)
	}
	l, err := n.c.List(t.Context(), kind("Revision"), client.ListOptions{})
	if err != nil || len(l.Items) != 20 {
		t.Errorf("%d revisions after the restart, want 20: %v", len(l.Items), err)
	}
}

// slack widens limits of time: these tests share their machine.
const slack = 40

func TestHeldAndTaken(t *testing.T) {
	s := up(t)
	cmd := hearth(s.state, "up", "--state", s.state, "--gateway-port", "0", "--api-port", "0")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), fmt.Sprintf("held by hearth, pid %d", s.pid)) || !strings.Contains(string(out), "hint: ") {
		t.Errorf("a second hearth: %v\n%s", err, out)
	}
	_, port, _ := net.SplitHostPort(s.gateway)
	second := t.TempDir()
	cmd = hearth(second, "up", "--state", second, "--gateway-port", port, "--api-port", "0")
	out, err = cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), fmt.Sprintf("port %s is used by hearth, pid %d", port, s.pid)) || !strings.Contains(string(out), "hint: hearth up --gateway-port ") {
		t.Errorf("a port that is taken: %v\n%s", err, out)
	}
	_, port, _ = net.SplitHostPort(strings.TrimPrefix(s.api, "https://"))
	cmd = hearth(second, "up", "--state", second, "--gateway-port", "0", "--api-port", port)
	out, _ = cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "hint: hearth up --api-port ") {
		t.Errorf("an API port that is taken: %s", out)
	}
	s.deploy("f", "runtime: node\n"+inline("export default () => 'still here'"))
	if got := s.must("f", "/"); got != "still here" {
		t.Error(got)
	}
}

// TestNothingAcknowledgedIsLost kills hearth while objects are being written.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	state := t.TempDir()
	var mu sync.Mutex
	acked := map[string]string{}
	for round := range 6 {
		s := launch(t, state)
		if round > 0 {
			l, err := s.c.List(t.Context(), kind("ConfigMap"), client.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			there := map[string]string{}
			for _, o := range l.Items {
				cm, _ := client.As[api.ConfigMap](o, nil)
				there[o.Meta.Name] = cm.Data["n"]
			}
			for name, want := range acked {
				got, _ := strconv.Atoi(there[name])
				if w, _ := strconv.Atoi(want); got < w {
					t.Errorf("round %d: %s is %q, was acknowledged as %s", round, name, there[name], want)
				}
			}
		}
		var wg sync.WaitGroup
		enough := make(chan struct{}, 1000)
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					name, n := fmt.Sprintf("c%d-%d", w, i%20), strconv.Itoa(round*100000+i)
					body, _ := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}, "data": map[string]string{"n": n}})
					if _, err := s.c.Apply(context.Background(), kind("ConfigMap"), name, body, client.WriteOptions{Force: true}); err != nil {
						return
					}
					mu.Lock()
					acked[name] = n
					mu.Unlock()
					select {
					case enough <- struct{}{}:
					default:
					}
				}
			})
		}
		late := time.After(patience)
		for range 30 + round*17 {
			select {
			case <-enough:
			case <-late:
				t.Fatalf("round %d: writes do not get on", round)
			}
		}
		s.kill()
		wg.Wait()
	}
	s := upIn(t, state)
	if l, err := s.c.List(t.Context(), kind("ConfigMap"), client.ListOptions{}); err != nil || len(l.Items) != len(acked) {
		t.Errorf("%d objects of %d are left: %v", len(l.Items), len(acked), err)
	}
}
