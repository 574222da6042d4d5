package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// fetchProgram calls what it is asked to, or shows a file.
const fetchProgram = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if f := r.FormValue("file"); f != "" {
			b, err := os.ReadFile(f)
			fmt.Fprint(w, string(b), err)
			return
		}
		u := r.FormValue("url")
		if u == "" {
			fmt.Fprint(w, os.Getenv("K_SERVICE"), " at ", r.Host)
			return
		}
		wait, err := time.ParseDuration(r.FormValue("wait"))
		if err != nil {
			wait = 40 * time.Second
		}
		res, err := (&http.Client{Timeout: wait}).Get(u)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		fmt.Fprint(w, res.StatusCode, " ", string(b))
	})
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
`

// alone runs the test that calls it once more, as root of a machine that has
// nothing but one neighbour at 198.51.100.2: network and mounts of its own. It
// returns true in there. What part the process plays is in HEARTH_E2E_PART.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv("HEARTH_E2E_PART") == "machine" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "HEARTH_E2E_PART=machine", "HEARTH_E2E_BINARY="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

func sh(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// neighbour is another machine: it serves HTTP, and makes calls from there.
// It ends with the test.
func neighbour(t *testing.T) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HEARTH_E2E_PART=neighbour")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	sh(t, fmt.Sprintf(`ip link set lo up
ip link add up0 type veth peer name out0 netns %d
ip addr add 198.51.100.1/24 dev up0
ip link set up0 up
nsenter -t %d -n sh -ec 'ip link set lo up; ip addr add 198.51.100.2/24 dev out0; ip link set out0 up'
ip route add default via 198.51.100.2`, cmd.Process.Pid, cmd.Process.Pid))
	in.Write([]byte("go\n"))
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// beNeighbour is the process neighbour starts.
func beNeighbour() {
	os.Stdin.Read(make([]byte, 3)) // until the network is there
	l, err := net.Listen("tcp", "198.51.100.2:80")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := r.FormValue("at")
		if at == "" {
			from, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "the neighbour, called by %s as %s", from, r.Host)
			return
		}
		rq, err := http.NewRequest("GET", "http://"+at+"/", nil)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		rq.Host = r.FormValue("host")
		res, err := (&http.Client{Timeout: 20 * time.Second}).Do(rq)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		fmt.Fprint(w, res.StatusCode, " ", string(b))
	})))
}

// resolver answers for www.example.test at 127.0.0.1, which /etc/resolv.conf names.
func resolver(t *testing.T) {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals, m.RCode = true, nil, dnsmessage.RCodeNameError
			if q.Name.String() == "www.example.test." {
				m.RCode = 0
				if q.Type == dnsmessage.TypeA {
					m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
						Body: &dnsmessage.AResource{A: netip.MustParseAddr("198.51.100.2").As4()}}}
				}
			}
			if out, err := m.Pack(); err == nil {
				pc.WriteTo(out, from)
			}
		}
	}()
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, file, "nameserver 127.0.0.1\nsearch corp.test\n")
	sh(t, "mount --make-rprivate /; mount --bind "+file+" /etc/resolv.conf")
}

// TestInside: services and functions call each other by their names, from zero,
// also after hearth was killed; names of the world resolve as on the host; a
// service for the cluster exists for nobody else.
func TestInside(t *testing.T) {
	if !alone(t) {
		return
	}
	neighbour(t)
	resolver(t)
	state := t.TempDir()
	s := upIn(t, state, "--gateway-host", "0.0.0.0")
	_, port, _ := net.SplitHostPort(s.gateway)
	kubectl := s.kubectl(t)
	image := s.image(t, "fetch:1", fetchProgram)
	service := func(name, labels string) string {
		return "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: " + name + ", labels: {" + labels + "}}\n" +
			"spec:\n  template: {spec: {containers: [{image: " + image + "}]}}\n  traffic: [{latestRevision: true, percent: 100, tag: blue}]\n---\n"
	}
	kubectl.okIn(service("caller", "")+service("inner", "networking.knative.dev/visibility: cluster-local"), nil, "apply", "-f", "-")
	kubectl.ok(nil, "wait", "ksvc", "--all", "--for=condition=Ready", "--timeout=90s")
	kubectl.ok([]string{`http://inner\.default\.svc\.cluster\.local`}, "get", "ksvc", "inner", "-o", "jsonpath={.status.url}")
	if err := s.apply("Namespace", "other", ""); err != nil {
		t.Fatal(err)
	}
	s.settleIn("other", "inner", "runtime: node\n"+inline("module.exports = () => 'inner of other'"))
	s.deploy("py", "runtime: python\nnetwork: private\nhandler: main.hello\n"+files(map[string]string{"main.py": `import urllib.request
def hello(event, context):
    try:
        return urllib.request.urlopen(event.query["url"], timeout=40).read().decode()
    except Exception as e:
        return str(e)
`}))

	call := func(host, what string) string {
		t.Helper()
		r, _ := http.NewRequest("GET", "http://"+s.gateway+"/?"+what, nil)
		r.Host = host
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return string(b)
	}
	fetch := func(from, at string) string {
		t.Helper()
		return call(from+".localhost", "url="+url.QueryEscape("http://"+at+"/"))
	}
	names := func() {
		t.Helper()
		for at, want := range map[string]string{
			"inner": "inner at inner", "inner.default": "inner at inner.default", "inner.default.svc": "inner at inner.default.svc",
			"inner.default.svc.cluster.local": "inner at inner.default.svc.cluster.local", "blue-inner.default.svc.cluster.local": "inner at blue-inner.default.svc.cluster.local",
			"inner.other": "inner of other", "caller.default.svc": "caller at caller.default.svc",
		} {
			if got := fetch("caller", at); got != "200 "+want {
				t.Errorf("a service calls %s: %q", at, got)
			}
			if got := fetch("py", at); got != want {
				t.Errorf("a function calls %s: %q", at, got)
			}
		}
		for at, want := range map[string]string{"nobody": "no such host", "nobody.default.svc.cluster.local": "no such host", "www.example.org": "no such host",
			"www.example.test": "200 the neighbour, called by 198.51.100.1 as www.example.test"} {
			if got := fetch("caller", at); !strings.Contains(got, want) {
				t.Errorf("a service calls %s: %q", at, got)
			}
		}
		if got := fetch("py", "www.example.test"); got != "the neighbour, called by 198.51.100.1 as www.example.test" {
			t.Errorf("a function calls the world: %q", got)
		}
		if got := fetch("caller", "py"); !strings.HasPrefix(got, "200 ") {
			t.Errorf("a service calls a function: %q", got)
		}
	}
	names()
	conf := call("caller.localhost", "file=/etc/resolv.conf")
	if !strings.Contains(conf, "search default.svc.cluster.local svc.cluster.local cluster.local corp.test\noptions ndots:5\n") {
		t.Errorf("resolv.conf: %s", conf)
	}
	lobby := strings.Fields(conf)[1]
	if got := call("caller.localhost", "wait=2s&url=http://"+lobby+":"+port); strings.HasPrefix(got, "200") { // the gateway's own port is no way in either
		t.Errorf("an instance reaches port %s: %q", port, got)
	}

	// The neighbour learns nothing.
	outside := func(host string) string {
		t.Helper()
		res, err := http.Get("http://198.51.100.2/?at=198.51.100.1:" + port + "&host=" + host)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		got, _, _ := strings.Cut(string(b), `,"requestId"`)
		return strings.ReplaceAll(got, host, "HOST")
	}
	nobody := outside("nobody.default.svc.cluster.local")
	if !strings.HasPrefix(nobody, "404 ") {
		t.Errorf("nobody's host: %q", nobody)
	}
	for _, host := range []string{"inner.default.svc.cluster.local", "inner.default.svc", "inner.default", "inner", "blue-inner.default.svc.cluster.local", "caller.default.svc.cluster.local", "py.default.svc.cluster.local"} {
		if got := outside(host); got != nobody {
			t.Errorf("%s, from outside: %q, and nobody's host: %q", host, got, nobody)
		}
	}
	if got := outside("caller.default.localhost"); got != "200 caller at HOST" {
		t.Errorf("a public service, from outside: %q", got)
	}
	if code, got := s.at(t, "inner.default.svc.cluster.local"); code != 200 || got != "inner at inner.default.svc.cluster.local" {
		t.Errorf("from this machine: %d %q", code, got)
	}

	if out, why, _ := s.run("doctor", "-o", "json"); !strings.Contains(out, `"names inside"`) || !strings.Contains(out, "NAME.NAMESPACE.svc.cluster.local, and shorter, at "+lobby) {
		t.Errorf("doctor: %s %s", out, why)
	}

	// What a killed hearth leaves behind is no obstacle, and nothing is left in the end.
	s.kill()
	s = upIn(t, state, "--gateway-host", "0.0.0.0")
	_, port, _ = net.SplitHostPort(s.gateway)
	names()
	s.stop()
	if out, err := exec.Command("ip", "-o", "link").CombinedOutput(); err != nil || strings.Contains(string(out), "hv") {
		t.Errorf("interfaces in the end: %v\n%s", err, out)
	}
}
