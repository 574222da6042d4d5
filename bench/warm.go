package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The same code twice: as functions, and as the programs nginx stands before.
const (
	nodeFunction = "exports.handler = () => 'hello, world\\n'\n"
	nodeProgram  = `const { handler } = require('./function.js')
require('http').createServer((q, s) => {
  const body = handler()
  s.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(body) })
  s.end(body)
}).listen(+process.env.PORT, '127.0.0.1')
`
	goFunction = `package handler

import (
	"io"
	"net/http"
)

func Handler(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello, world\n") }
`
	goProgram = `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello, world\n") }))
}
`
)

// peer is a program that runs while a section is measured.
type peer struct{ cmd *exec.Cmd }

func (b *bench) spawn(env []string, command ...string) (*peer, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	return &peer{cmd}, cmd.Start()
}

func (p *peer) stop() {
	p.cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-done
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// listening waits until something takes connections on a port.
func (b *bench) listening(port string) error {
	for {
		nc, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			return nc.Close()
		}
		if err := b.pause(5 * time.Millisecond); err != nil {
			return err
		}
	}
}

// place is somewhere wrk can be pointed at.
type place struct{ name, port, host string }

// warm is section c.
func (b *bench) warm() error {
	dir := filepath.Join(b.dir, "peers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"function.js": nodeFunction, "server.js": nodeProgram, "main.go": goProgram} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	program, err := b.compile(filepath.Join(dir, "main.go"), "hello")
	if err != nil {
		return err
	}
	s, err := b.start("warm")
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.deploy([]function{
		{name: "framed", runtime: "node", code: nodeFunction, idle: time.Hour, concurrency: 1000, most: 1},
		{name: "plain", runtime: "go", code: goFunction, idle: time.Hour, concurrency: 1000, most: 1},
	}); err != nil {
		return err
	}
	kinds := []struct {
		title, function string
		command         []string
		targets         map[int]float64
	}{
		{"node function, framed", "framed", []string{b.find("node").Path, filepath.Join(dir, "server.js")}, map[int]float64{1: 0.80, 16: 1.1, 128: 1.1}},
		{"plain HTTP program (Go)", "plain", []string{program}, map[int]float64{1: 0.90, 16: 0.65, 128: 0.65}},
	}
	for _, k := range kinds {
		direct, err := freePort()
		if err != nil {
			return err
		}
		p, err := b.spawn(append(bareEnv(), "PORT="+direct), k.command...)
		if err != nil {
			return err
		}
		defer p.stop()
		front, err := b.nginx(k.function, direct)
		if err != nil {
			return err
		}
		defer front.stop()
		if err := errors.Join(b.listening(direct), b.listening(front.port)); err != nil {
			return err
		}
		behind := []int{p.cmd.Process.Pid}
		places := []way{
			{place: place{"direct", direct, "x"}, back: behind},
			{place: place{"nginx", front.port, "x"}, front: children(front.cmd.Process.Pid), back: behind},
			{place: place{"hearth", s.port, k.function + ".localhost"}, front: []int{s.cmd.Process.Pid}, instances: true},
		}
		for _, conns := range []int{1, 16, 128} {
			all := map[string]results{}
			for round := range b.rounds {
				for i := range places {
					p := places[(i+round)%len(places)] // nobody is always first
					r, err := b.along(p, conns)
					if err != nil {
						return fmt.Errorf("%s at %d connections: %w", p.name, conns, err)
					}
					b.detail("%s %d %s: %.0f/s, p50 %v, p99 %v, processor time %v + %v", k.function, conns, p.name, r.rate, r.p50, r.p99, r.front, r.back)
					all[p.name] = append(all[p.name], r)
				}
			}
			h, n, d := all["hearth"].median(), all["nginx"].median(), all["direct"].median()
			r := row{
				what: fmt.Sprintf("%s, %d connections", k.title, conns), hearth: h.String(),
				peer: fmt.Sprintf("nginx %s; direct %s", n, d), ratio: fmt.Sprintf("%.2f", h.rate/n.rate),
			}
			r.atLeast(h.rate/n.rate, k.targets[conns])
			b.report.add(r)
		}
	}
	b.report.remark("Each cell: calls per second, p50, p99, processor time per call of the proxy + of the code behind it, in microseconds. The ratio is of calls per second.")
	return nil
}

// proxy is a running nginx.
type proxy struct {
	*peer
	port string
}

// nginx starts one in front of a program.
func (b *bench) nginx(name, upstream string) (*proxy, error) {
	return b.nginxConf(name, func(port string) string {
		return fmt.Sprintf(`  keepalive_requests 100000000; keepalive_timeout 300s;
  upstream u { server 127.0.0.1:%s; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:%s; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`, upstream, port)
	})
}

// nginxConf starts one with what conf gives for its http block.
func (b *bench) nginxConf(name string, conf func(port string) string) (*proxy, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "nginx-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	text := fmt.Sprintf(`%[2]s worker_processes auto; daemon off; pid %[1]s/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; tcp_nodelay on;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[3]s
}
`, dir, user, conf(port))
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p, err := b.spawn(bareEnv(), "nginx", "-c", file, "-e", "stderr")
	if err != nil {
		return nil, err
	}
	return &proxy{p, port}, nil
}

// result is what wrk saw.
type result struct {
	rate        float64
	p50, p99    time.Duration
	calls       int
	front, back time.Duration // processor time per call, where it was measured
}

func (r result) String() string {
	s := fmt.Sprintf("%.0f/s, %d, %d", r.rate, r.p50.Microseconds(), r.p99.Microseconds())
	if r.back > 0 {
		s += fmt.Sprintf(", %d + %d", r.front.Microseconds(), r.back.Microseconds())
	}
	return s
}

type results []result

func (all results) median() (m result) {
	var rates []float64
	var p50, p99, front, back []time.Duration
	for _, r := range all {
		rates, p50, p99 = append(rates, r.rate), append(p50, r.p50), append(p99, r.p99)
		front, back = append(front, r.front), append(back, r.back)
	}
	return result{rate: median(rates), p50: median(p50), p99: median(p99), front: median(front), back: median(back)}
}

func (b *bench) wrk(p place, conns int) (r result, err error) {
	threads, length := min(conns, 2), "2s"
	if b.quick {
		length = "1s"
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(b.ctx, "wrk", "--latency", "-t"+strconv.Itoa(threads), "-c"+strconv.Itoa(conns), "-d"+length,
		"-H", "Host: "+p.host, "http://127.0.0.1:"+p.port+"/")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("wrk: %w: %s", err, out.String())
	}
	if strings.Contains(out.String(), "Non-2xx") || strings.Contains(out.String(), "Socket errors") {
		return r, fmt.Errorf("not every call was answered: %s", out.String())
	}
	for line := range strings.Lines(out.String()) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if len(f) > 2 && f[1] == "requests" && f[2] == "in" {
			r.calls, _ = strconv.Atoi(f[0])
		}
		switch f[0] {
		case "50%":
			r.p50, err = time.ParseDuration(f[1])
		case "99%":
			r.p99, err = time.ParseDuration(f[1])
		case "Requests/sec:":
			r.rate, err = strconv.ParseFloat(f[1], 64)
		}
		if err != nil {
			return r, err
		}
	}
	if r.rate == 0 {
		return r, fmt.Errorf("wrk said nothing to understand: %s", out.String())
	}
	return r, nil
}
