package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// inFlight is how many calls, or sockets, are open at a time.
const inFlight = 64

// rpc is section g.
func (b *bench) rpc() error {
	dir := filepath.Join(b.dir, "rpc")
	program, err := b.peerProgram(dir)
	if err != nil {
		return err
	}
	s, err := b.start("rpc-state")
	if err != nil {
		return err
	}
	defer s.stop()
	for name, protocol := range map[string]string{"grpc": api.ProtocolH2C, "websocket": api.ProtocolHTTP} {
		if err := s.program(name, filepath.Dir(program), protocol, "./peer", name); err != nil {
			return err
		}
	}
	if err := b.grpc(s, program, dir); err != nil {
		return err
	}
	return b.websocket(s, program)
}

// peerProgram builds the programs of this section.
func (b *bench) peerProgram(dir string) (string, error) {
	out := filepath.Join(dir, "bin", "peer")
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-o", out, "./bench/peer")
	cmd.Dir, cmd.Env, cmd.Stderr = b.source, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	return out, cmd.Run()
}

// program deploys a program of folder and waits until it serves.
func (s *server) program(name, folder, protocol string, command ...string) error {
	kind, _ := api.KindOf(api.GroupVersion, "Function")
	data, err := json.Marshal(map[string]any{
		"apiVersion": api.GroupVersion, "kind": "Function", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"runtime": "command", "command": command, "source": map[string]any{"folder": folder}, "port": map[string]any{"protocol": protocol, "number": 8080},
			"concurrency": api.Unlimited, "scale": map[string]any{"min": 1, "max": 1}, "timeout": "10m",
		},
	})
	if err != nil {
		return err
	}
	if _, err := s.client.Create(s.b.ctx, kind, data, client.WriteOptions{}); err != nil {
		return err
	}
	return s.ready(name)
}

// grpc compares calls per second of what stands between h2load and the server.
func (b *bench) grpc(s *server, program, dir string) error {
	direct, err := freePort()
	if err != nil {
		return err
	}
	server, err := b.spawn(append(bareEnv(), "PORT="+direct), program, "grpc")
	if err != nil {
		return err
	}
	defer server.stop()
	front, err := b.nginxGRPC(direct)
	if err != nil {
		return err
	}
	defer front.stop()
	goPort, err := freePort()
	if err != nil {
		return err
	}
	proxy, err := b.spawn(append(bareEnv(), "PORT="+goPort), program, "proxy", "127.0.0.1:"+direct)
	if err != nil {
		return err
	}
	defer proxy.stop()
	if err := errors.Join(b.listening(direct), b.listening(front.port), b.listening(goPort)); err != nil {
		return err
	}
	message := filepath.Join(dir, "message")
	payload := []byte("sixteen bytes, x")
	if err := os.WriteFile(message, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(payload))), payload...), 0o644); err != nil {
		return err
	}
	places := []place{{"direct", direct, "x"}, {"nginx", front.port, "x"}, {"ReverseProxy", goPort, "x"}, {"hearth", s.port, "grpc.localhost"}}
	for _, k := range []struct {
		what, method string
		each         int // messages of one call
	}{{"unary calls", "Say", 1}, {"server streams of 100 messages", "Many", 100}} {
		all := map[string][]float64{}
		for round := range b.rounds {
			for i := range places {
				p := places[(i+round)%len(places)]
				rate, err := b.h2load(p, "/bench.Echo/"+k.method, message, k.each*(len(payload)+5))
				if err != nil {
					return fmt.Errorf("%s through %s: %w", k.what, p.name, err)
				}
				b.detail("%s %s: %.0f/s", k.what, p.name, rate)
				all[p.name] = append(all[p.name], rate)
			}
		}
		h, n, g, d := median(all["hearth"]), median(all["nginx"]), median(all["ReverseProxy"]), median(all["direct"])
		r := row{
			what: "gRPC " + k.what, hearth: fmt.Sprintf("%.0f/s", h), peer: fmt.Sprintf("nginx %.0f/s; ReverseProxy %.0f/s; direct %.0f/s", n, g, d),
			ratio: fmt.Sprintf("%.2f", h/max(n, g)),
		}
		r.atLeast(h/max(n, g), 1.5)
		b.report.add(r)
	}
	b.report.remark("gRPC: %d calls in flight over 4 connections (h2load), messages of 16 bytes, a grpc-go server behind; the ratio is to the better of nginx and httputil.ReverseProxy.", inFlight)
	return nil
}

// nginxGRPC starts an nginx that passes gRPC on to a port.
func (b *bench) nginxGRPC(upstream string) (*proxy, error) {
	return b.nginxConf("grpc", func(port string) string {
		return fmt.Sprintf(`  http2_max_concurrent_streams 1000; keepalive_requests 100000000;
  upstream u { server 127.0.0.1:%s; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:%s http2; location / { grpc_pass grpc://u; } }`, upstream, port)
	})
}

// h2load measures calls per second; size is how many bytes each answer must
// have, so that an error is not taken for a quick answer.
func (b *bench) h2load(p place, path, message string, size int) (float64, error) {
	length := "2"
	if b.quick {
		length = "1"
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(b.ctx, "h2load", "-c4", "-m"+strconv.Itoa(inFlight/4), "-t1", "-D"+length, "-d"+message,
		"-H", "content-type: application/grpc", "-H", "te: trailers", "-H", ":authority: "+p.host, "http://127.0.0.1:"+p.port+path)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("h2load: %w: %s", err, out.String())
	}
	var rate float64
	var done, failed, bytes int64
	for line := range strings.Lines(out.String()) {
		f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" ,:()\n", r) })
		switch {
		case len(f) > 4 && f[0] == "finished":
			rate, _ = strconv.ParseFloat(f[3], 64)
		case len(f) > 9 && f[0] == "requests":
			done, _ = strconv.ParseInt(f[5], 10, 64)
			failed, _ = strconv.ParseInt(f[9], 10, 64)
		case len(f) > 0 && f[0] == "traffic":
			if data := strings.Index(line, "data"); data > 0 {
				w := strings.FieldsFunc(line[:data], func(r rune) bool { return strings.ContainsRune(" ,()", r) })
				bytes, _ = strconv.ParseInt(w[len(w)-1], 10, 64)
			}
		}
	}
	if rate == 0 || failed > 0 || bytes < done*int64(size) {
		return 0, fmt.Errorf("%d of %d calls failed, %d bytes came: %s", failed, done, bytes, out.String())
	}
	return rate, nil
}

// websocket compares echoes per second.
func (b *bench) websocket(s *server, program string) error {
	direct, err := freePort()
	if err != nil {
		return err
	}
	server, err := b.spawn(append(bareEnv(), "PORT="+direct), program, "websocket")
	if err != nil {
		return err
	}
	defer server.stop()
	front, err := b.nginxConf("websocket", func(port string) string {
		return fmt.Sprintf(`  server { listen 127.0.0.1:%s; location / { proxy_pass http://127.0.0.1:%s; proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }`, port, direct)
	})
	if err != nil {
		return err
	}
	defer front.stop()
	if err := errors.Join(b.listening(direct), b.listening(front.port)); err != nil {
		return err
	}
	places := []place{{"direct", direct, "x"}, {"nginx", front.port, "x"}, {"hearth", s.port, "websocket.localhost"}}
	length := 2 * time.Second
	if b.quick {
		length = time.Second
	}
	all := map[string][]float64{}
	for round := range b.rounds {
		for i := range places {
			p := places[(i+round)%len(places)]
			rate, err := b.echoes(p, inFlight, length)
			if err != nil {
				return fmt.Errorf("WebSocket through %s: %w", p.name, err)
			}
			b.detail("WebSocket %s: %.0f/s", p.name, rate)
			all[p.name] = append(all[p.name], rate)
		}
	}
	h, n, d := median(all["hearth"]), median(all["nginx"]), median(all["direct"])
	r := row{what: "WebSocket echoes", hearth: fmt.Sprintf("%.0f/s", h), peer: fmt.Sprintf("nginx %.0f/s; direct %.0f/s", n, d), ratio: fmt.Sprintf("%.2f", h/n)}
	r.atLeast(h/n, 0.9)
	b.report.add(r)
	b.report.remark("WebSocket: %d sockets, each sends its next message of 16 bytes when the last came back.", inFlight)
	return b.silent(program, places[1], children(front.cmd.Process.Pid))
}
