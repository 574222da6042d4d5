package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// spy runs the code it is sent and says what came of it.
const spy = `exports.handler = async (event) => {
	const fs = require('fs'), os = require('os'), cp = require('child_process'), net = require('net')
	const sh = (c) => { const r = cp.spawnSync('/bin/sh', ['-c', c], {encoding: 'utf8', timeout: 10000}); return (r.stdout || '') + (r.stderr || '') + (r.error ? r.error.code : '') }
	const dial = (port, host) => new Promise((ok) => { const s = net.connect({port, host, timeout: 2000}); s.on('connect', () => { s.destroy(); ok('connected') }); s.on('error', (e) => ok(e.code)); s.on('timeout', () => { s.destroy(); ok('timeout') }) })
	try { const v = await eval(await event.text()); return typeof v === 'string' ? v : JSON.stringify(v) } catch (e) { return 'error ' + (e.code || e.message) }
}`

func (s *server) eval(name, code string) string {
	s.t.Helper()
	a := s.do(http.DefaultClient, "POST", name, "/", code)
	if a.err != nil || a.status >= 300 {
		s.t.Fatalf("%s: %s: %s", name, code, a)
	}
	return a.body
}

func TestIsolation(t *testing.T) {
	s := up(t)
	if _, err := s.applyIn("default", "Namespace", "other", ""); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"default", "other"} {
		if _, err := s.applyIn(ns, "Secret", "key", "stringData: {word: secret-of-"+ns+"}\n"); err != nil {
			t.Fatal(err)
		}
	}
	common := "runtime: node\nscale: {max: 1}\n"
	s.deploy("one", common+"secrets: [key]\nenv: [{name: WORD, valueFrom: {secretKeyRef: {name: key, key: word}}}]\n"+inline(spy))
	s.deploy("two", common+inline(spy))
	if f := s.settleIn("other", "three", common+"secrets: [key]\n"+inline(spy)); !f.Status.Conditions.Ready() {
		t.Fatalf("three is not ready: %+v", f.Status.Conditions)
	}
	host, _ := os.Hostname()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}

	t.Run("own secret", func(t *testing.T) {
		s := s.in(t)
		for code, want := range map[string]string{
			`process.env.WORD`: "secret-of-default",
			`fs.readFileSync('/secrets/default/key/word', 'utf8')`:                    "secret-of-default",
			`fs.readFileSync('/secrets/other/key/word', 'utf8')`:                      "error ENOENT",
			`fs.statSync('/secrets/default/key/word').mode & 0o022`:                   "0",
			`fs.writeFileSync('/secrets/default/key/word', 'x'); 'written'`:           "error",
			`fs.writeFileSync('/code/index.js', 'x'); 'written'`:                      "error",
			`fs.writeFileSync('/tmp/mine', 'x'); fs.readFileSync('/tmp/mine','utf8')`: "x",
		} {
			if got := s.eval("one", code); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q, want %q", code, got, want)
			}
		}
		if got := s.eval("two", `fs.existsSync('/secrets/default/key/word')`); got != "false" {
			t.Errorf("a function that did not ask for the secret sees it: %s", got)
		}
		if got := s.eval("three.other", `fs.readFileSync('/secrets/other/key/word', 'utf8') + fs.existsSync('/secrets/default')`); got != "secret-of-otherfalse" {
			t.Errorf("three in namespace other sees %q", got)
		}
	})

	t.Run("users", func(t *testing.T) {
		s := s.in(t)
		one, two := s.eval("one", `process.getuid()`), s.eval("two", `process.getuid()`)
		if one == two || one == "0" || two == "0" {
			t.Errorf("one runs as user %s, two as %s", one, two)
		}
		for _, code := range []string{`process.setuid(0)`, `process.setgid(0)`, `process.setuid(` + two + `)`} {
			if got := s.eval("one", code+`; 'done'`); !strings.HasPrefix(got, "error") {
				t.Errorf("%s: %s", code, got)
			}
		}
		if got := s.eval("one", `sh('id -u; grep -h -E "NoNewPrivs|CapEff|CapBnd|Seccomp:" /proc/self/status')`); !strings.Contains(got, "NoNewPrivs:\t1") ||
			!strings.Contains(got, "CapEff:\t0000000000000000") || !strings.Contains(got, "Seccomp:\t2") {
			t.Errorf("privileges inside: %s", got)
		}
	})

	t.Run("files", func(t *testing.T) {
		s := s.in(t)
		for _, path := range []string{
			s.state, filepath.Join(s.state, "token.key"), filepath.Join(s.state, "secrets.key"), filepath.Join(s.state, "hearth.db"), filepath.Join(s.state, "kubeconfig"),
			outside, "/etc/shadow", "/root/.bashrc", "/proc/1/environ", fmt.Sprintf("/proc/%d/environ", s.pid), "/sys/kernel/debug", "/dev/mem", "/dev/kmsg", "/dev/sda", "/run/docker.sock",
			"/sys/fs/cgroup", "/proc/kcore",
		} {
			got := s.eval("two", fmt.Sprintf(`const p = %q; fs.statSync(p).isDirectory() ? 'entries ' + fs.readdirSync(p).join(' ') : fs.readFileSync(p, {encoding: 'latin1'}).slice(0, 200)`, path))
			if path == "/proc/1/environ" && !strings.HasPrefix(got, "error") {
				// The first process of its own pid namespace: itself.
				if strings.Contains(got, "TOP_SECRET") || strings.Contains(got, "HOME=/root") {
					t.Errorf("%s shows the host's: %q", path, got)
				}
				continue
			}
			if !strings.HasPrefix(got, "error") && got != "entries " && got != "" {
				t.Errorf("%s can be read: %q", path, tail(got, 200))
			}
		}
		for _, dir := range []string{"/root", "/home", "/srv", "/mnt", "/opt", "/var/lib"} {
			if got := s.eval("two", fmt.Sprintf(`fs.existsSync(%[1]q) ? fs.readdirSync(%[1]q).join(' ') : ''`, dir)); got != "" && !strings.HasPrefix(got, "error") {
				t.Errorf("%s is visible: %s", dir, got)
			}
		}
		if got := s.eval("two", `sh('for d in / /etc /usr /bin /code /var /dev /proc /hearth /lib; do touch $d/x 2>/dev/null && echo wrote $d; done; true')`); got != "" {
			t.Errorf("outside of /tmp: %s", got)
		}
		if got := s.eval("two", `fs.writeFileSync('/tmp/shared', 'x'); 'ok'`); got != "ok" {
			t.Errorf("/tmp cannot be written: %s", got)
		}
		if got := s.eval("one", `fs.existsSync('/tmp/shared')`); got != "false" {
			t.Error("/tmp is shared between functions")
		}
		if got := s.eval("one", `sh('find / -xdev -perm -4000 -type f 2>/dev/null | head -3; mount | grep -c nosuid')`); strings.HasPrefix(got, "0") {
			t.Errorf("no mount is nosuid: %s", got)
		}
	})

	t.Run("environment", func(t *testing.T) {
		s := s.in(t)
		var env map[string]string
		if err := json.Unmarshal([]byte(s.eval("two", `process.env`)), &env); err != nil {
			t.Fatal(err)
		}
		for k, v := range env {
			if strings.Contains(v, "of-hearth") || strings.Contains(v, s.state) || strings.Contains(v, s.token) || strings.Contains(strings.ToLower(k), "token") {
				t.Errorf("the environment shows %s=%s", k, v)
			}
		}
	})

	t.Run("processes", func(t *testing.T) {
		s := s.in(t)
		var pids []string
		json.Unmarshal([]byte(s.eval("two", `fs.readdirSync('/proc').filter(p => /^\d+$/.test(p))`)), &pids)
		if len(pids) == 0 || len(pids) > 5 {
			t.Errorf("it sees the processes %v, want its own only", pids)
		}
		if got := s.eval("two", fmt.Sprintf(`try { process.kill(%d, 0); 'there' } catch (e) { e.code }`, s.pid)); got != "ESRCH" && got != "EPERM" {
			t.Errorf("kill hearth: %s", got)
		}
		if got := s.eval("two", `sh('kill -9 -1 2>&1; echo after')`); strings.Contains(got, "Operation permitted") {
			t.Error(got)
		}
		if got := s.eval("two", `sh('mount -t tmpfs none /tmp 2>&1 && echo MOUNTED; unshare -Ur true 2>&1 && echo UNSHARED; chroot / true 2>&1 && echo CHROOTED; mknod /tmp/z b 8 0 2>&1 && echo MADE; true')`); strings.Contains(got, "MOUNTED") ||
			strings.Contains(got, "UNSHARED") || strings.Contains(got, "CHROOTED") || strings.Contains(got, "MADE") {
			t.Errorf("what only root may do: %s", got)
		}
		python := "import ctypes, os\nl = ctypes.CDLL(None, use_errno=True)\nout = []\n" +
			"for name, args in [('ptrace', (16, 1, 0, 0)), ('mount', (b'none', b'/tmp', b'tmpfs', 0, 0)), ('unshare', (0x10000000,)), ('setns', (3, 0)), ('keyctl', (0, 0, 0)), ('bpf', (0, 0, 0)), ('reboot', (0,)), ('swapon', (b'/x', 0)), ('init_module', (0, 0, 0)), ('process_vm_readv', (1, 0, 0, 0, 0, 0))]:\n" +
			"    f = getattr(l, name, None)\n    if f is None: continue\n    ctypes.set_errno(0)\n    r = f(*args)\n    out.append(f'{name}={r}/{ctypes.get_errno()}')\n"
		s.deploy("calls", "runtime: python\n"+inline("def main():\n    "+strings.ReplaceAll(strings.TrimSpace(python), "\n", "\n    ")+"\n    return ' '.join(out)\n"))
		if got := s.must("calls", "/"); strings.Contains(got, "=0/") || !strings.Contains(got, "mount=-1/") {
			t.Errorf("system calls: %s", got)
		}
		if got := s.eval("two", `os.hostname()`); got == host && host != "localhost" {
			t.Errorf("it sees the host's name %s", got)
		}
		if s.must("calls", "/") == "" || s.eval("one", `'well'`) != "well" {
			t.Error("others do not answer any more")
		}
	})

	t.Run("network", func(t *testing.T) {
		s := s.in(t)
		server := `const n = process.env.NAME; require('http').createServer((q, r) => {
			if (q.url === '/wait') return
			const u = new URL(q.url, 'http://x'), p = u.searchParams.get('dial')
			if (!p) return r.end(n + ' ' + process.env.PORT)
			const [host, port] = p.split('|'); const c = require('net').connect({host, port: +port, timeout: 1500})
			c.on('connect', () => { r.end('connected'); c.destroy() }); c.on('error', e => r.end(e.code)); c.on('timeout', () => { r.end('timeout'); c.destroy() })
		}).listen(+process.env.PORT, '0.0.0.0')`
		for _, n := range []string{"left", "right"} {
			s.deploy(n, "runtime: command\nnetwork: private\ncommand: [node, server.js]\nenv: [{name: NAME, value: "+n+"}]\n"+files(map[string]string{"server.js": server}))
		}
		for range 3 {
			left, leftPort, _ := strings.Cut(s.must("left", "/"), " ")
			right, rightPort, _ := strings.Cut(s.must("right", "/"), " ")
			if left != "left" || right != "right" || leftPort != rightPort || leftPort == "" {
				t.Errorf("left is %s on %s, right is %s on %s", left, leftPort, right, rightPort)
			}
		}
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_, apiPort, _ := net.SplitHostPort(strings.TrimPrefix(s.api, "https://"))
		// Its own loopback is not the host's: nothing of the host listens there.
		for _, p := range []string{port, apiPort} {
			if got := s.must("left", "/?dial=127.0.0.1|"+p); got != "ECONNREFUSED" {
				t.Errorf("the host's loopback port %s from a private network: %s", p, got)
			}
		}
		s.deploy("closed", "runtime: node\nnetwork: none\n"+inline(spy))
		for _, target := range []string{"127.0.0.1", outsideAddress()} {
			if got := s.eval("closed", fmt.Sprintf(`dial(%s, %q)`, port, target)); got == "connected" || got == "" {
				t.Errorf("network none reaches %s: %s", target, got)
			}
		}
		if got := s.eval("closed", `Object.keys(os.networkInterfaces()).filter(n => n !== 'lo').join()`); got != "" {
			t.Errorf("network none has %s", got)
		}
	})
}

// outsideAddress is an address of this machine that is not its loopback.
func outsideAddress() string {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return "192.0.2.1"
}
