package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway"
)

// servePeer is the process that answers in benchmarks: HTTP or frames on the
// listener it was given as descriptor 3.
func servePeer(protocol string) {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		panic(err)
	}
	go func() { io.Copy(io.Discard, os.Stdin); os.Exit(0) }() // ends with its parent
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"text/plain"}
		io.WriteString(w, "hello, world\n")
	})
	if protocol == api.ProtocolHTTP {
		http.Serve(l, h)
	} else {
		frame.Serve(l, h, frame.ServeOptions{})
	}
}

func spawn(b *testing.B, protocol, network, address string) (addr string) {
	b.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		b.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "GATEWAY_TEST_PEER="+protocol)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	b.Cleanup(func() { in.Close(); cmd.Wait(); l.Close() })
	return l.Addr().String()
}

func benchWorld(b *testing.B) *world {
	s := memory.NewStore()
	w := &world{t: b, store: s, waker: &waker{by: map[string]func() (engine.Instance, error){}}, calls: &calls{}}
	for p, name := range map[string]string{api.ProtocolHearth: "framed", api.ProtocolHTTP: "http"} {
		in := &instance{id: p, protocol: p, socket: spawn(b, p, "unix", filepath.Join(b.TempDir(), "s")), done: make(chan struct{})}
		w.revision(name+"-1", name, api.RevisionSpec{}, always(in))
		w.put(api.Functions, name, api.Function{Status: api.FunctionStatus{LatestReadyRevision: name + "-1"}})
		b.Cleanup(func() { close(in.done) })
	}
	w.g = gateway.New(gateway.Config{Store: s, Waker: w.waker})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); w.g.Follow(ctx) }()
	<-w.g.Ready()
	b.Cleanup(func() { cancel(); <-ended; w.g.Close() })
	return w
}

// node starts the real loader with a function, and the same code behind Node's
// own HTTP server.
func node(b *testing.B) (socket, direct string) {
	b.Helper()
	loader, _ := runtime.ByName("node")
	found := runtime.Find("node")
	if found.Err != nil {
		b.Skip(found.Err)
	}
	dir := b.TempDir()
	if err := os.CopyFS(dir+"/l", runtime.Files()); err != nil {
		b.Fatal(err)
	}
	os.WriteFile(dir+"/main.js", []byte("exports.hello = async (event, context) => ({body: 'hello, world\\n', headers: {'content-type': 'text/plain'}, statusCode: 200});\n"), 0o644)
	os.WriteFile(dir+"/http.js", []byte("require('http').createServer((q, r) => { r.setHeader('content-type', 'text/plain'); r.end('hello, world\\n'); }).listen({fd: 3});\n"), 0o644)
	start := func(network, address string, args ...string) string {
		l, err := net.Listen(network, address)
		if err != nil {
			b.Fatal(err)
		}
		f, _ := l.(interface{ File() (*os.File, error) }).File()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "HEARTH_LISTEN_FD=3")
		cmd.ExtraFiles, cmd.Stderr = []*os.File{f}, os.Stderr
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		f.Close()
		b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); l.Close() })
		return l.Addr().String()
	}
	direct = start("tcp", "127.0.0.1:0", "node", dir+"/http.js")
	socket = start("unix", dir+"/s", loader.Command(found, dir+"/l")...)
	nc, err := net.Dial("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	c := frame.NewClient(nc, frame.Options{Role: frame.RoleControl})
	b.Cleanup(func() { c.Close() })
	if _, err := c.Load(b.Context(), frame.Load{Code: dir, Handler: "main.hello", Concurrency: 1000, TimeoutMS: 60000}); err != nil {
		b.Fatal(err, api.AsError(err).Detail)
	}
	return socket, direct
}

// discard is a ResponseWriter without a connection.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush()                      {}

// BenchmarkCall is the gateway alone, without net/http in front.
func BenchmarkCall(b *testing.B) {
	for _, name := range []string{"framed", "http"} {
		for _, at := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", name, at), func(b *testing.B) {
				w := benchWorld(b)
				b.ReportAllocs()
				b.SetParallelism(max(1, at/2))
				call := func(next func() bool) {
					rq, _ := http.NewRequest("GET", "http://"+name+".localhost/x?y=z", nil)
					rq.RequestURI, rq.RemoteAddr = "/x?y=z", "192.0.2.1:1234"
					rq.Header.Set("User-Agent", "bench")
					rq.Header.Set("Accept", "*/*")
					d := &discard{http.Header{}}
					for next() {
						clear(d.h)
						w.g.ServeHTTP(d, rq)
						if d.h.Get("X-Hearth-Error") != "" {
							b.Error(d.h)
							return
						}
					}
				}
				if at == 1 {
					call(b.Loop)
				} else {
					b.RunParallel(func(pb *testing.PB) { call(pb.Next) })
				}
			})
		}
	}
}

// BenchmarkAgainstNginx prints requests per second as shares of nginx's, which
// passes on to the same program over TCP. It needs nginx and wrk.
func BenchmarkAgainstNginx(b *testing.B) {
	b.Run("go", func(b *testing.B) { againstNginx(b, false) })
	b.Run("node", func(b *testing.B) { againstNginx(b, true) })
}

func againstNginx(b *testing.B, js bool) {
	wrk, err := exec.LookPath("wrk")
	nginx, err2 := exec.LookPath("nginx")
	if err != nil || err2 != nil {
		b.Skip("needs nginx and wrk")
	}
	w := benchWorld(b)
	ctx, cancel := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); w.g.Serve(ctx, l, nil) }()
	b.Cleanup(func() { cancel(); <-ended })
	var direct string
	if js {
		in := &instance{id: "node", protocol: api.ProtocolHearth, done: make(chan struct{})}
		b.Cleanup(func() { close(in.done) })
		in.socket, direct = node(b)
		w.waker.by["framed-1"] = always(in)
	} else {
		direct = spawn(b, api.ProtocolHTTP, "tcp", "127.0.0.1:0")
	}
	free, _ := net.Listen("tcp", "127.0.0.1:0")
	front := free.Addr().String()
	free.Close()
	dir := b.TempDir()
	os.Chmod(dir, 0o755)
	conf := fmt.Sprintf(`worker_processes auto; daemon off; master_process on; pid %[1]s/pid; error_log /dev/null;
events { worker_connections 4096; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
upstream u { server %[2]s; keepalive 256; keepalive_requests 100000000; }
server { listen %[3]s; keepalive_requests 100000000; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } } }`, dir, direct, front)
	os.WriteFile(dir+"/conf", []byte(conf), 0o644)
	ng := exec.Command(nginx, "-c", dir+"/conf", "-e", "/dev/null")
	if err := ng.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ng.Process.Signal(os.Interrupt); ng.Wait() })
	for {
		nc, err := net.Dial("tcp", front)
		if err == nil {
			nc.Close()
			break
		}
	}
	run := func(addr, host string, conns int) float64 {
		var out bytes.Buffer
		cmd := exec.Command(wrk, "-t1", "-c", strconv.Itoa(conns), "-d", os.Getenv("BENCH_SECONDS")+"s", "-H", "Host: "+host, "http://"+addr+"/")
		if os.Getenv("BENCH_SECONDS") == "" {
			cmd.Args[5] = "1s"
		}
		cmd.Stdout = &out
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		if strings.Contains(out.String(), "Non-2xx") {
			b.Fatal(out.String())
		}
		_, rest, _ := strings.Cut(out.String(), "Requests/sec:")
		v, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		return v
	}
	paths := []struct{ name, addr, host string }{{"nginx", front, "x"}, {"framed", l.Addr().String(), "framed.localhost"}, {"http", l.Addr().String(), "http.localhost"}, {"direct", direct, "x"}}
	if js {
		paths = slices.Delete(paths, 2, 3)
	}
	for _, conns := range []int{1, 16, 128} {
		all := map[string][]float64{}
		for range 3 { // interleaved
			for _, p := range paths {
				all[p.name] = append(all[p.name], run(p.addr, p.host, conns))
			}
		}
		line := fmt.Sprintf("%4d connections:", conns)
		for _, p := range paths {
			slices.Sort(all[p.name])
			slices.Sort(all["nginx"])
			line += fmt.Sprintf("  %s %.0f/s (%.2f)", p.name, all[p.name][1], all[p.name][1]/all["nginx"][1])
		}
		fmt.Println(line)
	}
}
