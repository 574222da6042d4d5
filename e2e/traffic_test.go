package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hearth-run/hearth/api"
)

// TestTrafficUnderLoad changes what serves 50 times, in every way there is,
// while callers come without pause: none of them may notice.
func TestTrafficUnderLoad(t *testing.T) {
	s := up(t)
	text := func(n int, more string) string {
		return "runtime: node\nconcurrency: 8\nrevisions: {keep: 4}\n" + inline(fmt.Sprintf("export default () => 'v%d'", n)) + more
	}
	program := func(n int) string {
		return "runtime: command\nconcurrency: 8\ncommand: [node, s.js]\nscale: {idle: 300ms}\n" + files(map[string]string{
			"s.js": fmt.Sprintf("const s = require('http').createServer((q, r) => r.end('v%d')).listen(process.env.PORT)\nprocess.on('SIGTERM', () => s.close(() => process.exit(0)))", n),
		})
	}
	good := func(body string) bool { return strings.HasPrefix(body, "v") }
	s.deploy("app", text(0, ""))
	s.deploy("prog", program(0))
	app, prog := s.load("app", 3, good), s.load("prog", 1, good)
	assigned := func(want string) {
		until(s, kind("Function"), api.DefaultNamespace, "app", func(f *api.Function) bool {
			var got []string
			for _, x := range f.Status.Traffic {
				got = append(got, fmt.Sprint(x.Revision, "=", x.Percent))
			}
			return strings.Join(got, " ") == want
		})
	}
	number := func(f *api.Function) int {
		var n int
		fmt.Sscanf(f.Status.LatestReadyRevision, "app-%d", &n)
		return n
	}
	n := 0
	for i := range 10 { // five changes each
		n++
		old := number(s.deploy("app", text(n, ""))) // 1: a deployment
		n++
		now := number(s.deploy("app", text(n, fmt.Sprintf("traffic: [{latest: true, percent: 70}, {revision: app-%d, percent: 30}]\n", old)))) // 2: with a split
		assigned(fmt.Sprintf("app-%d=70 app-%d=30", now, old))
		if out, errs, code := s.run("rollback", "app"); code != 0 { // 3: back
			t.Fatalf("rollback: %d %s %s", code, out, errs)
		}
		assigned(fmt.Sprintf("app-%d=100", old))
		n++
		s.deploy("app", text(n, "rollout: {steps: [50], interval: 100ms, maxErrorPercent: 0}\ntraffic: []\n")) // 4: step by step
		until(s, kind("Function"), api.DefaultNamespace, "app", func(f *api.Function) bool {
			return f.Status.Rollout != nil && f.Status.Rollout.Phase == api.RolloutDone && f.Status.Rollout.To == f.Status.LatestReadyRevision
		})
		if i%2 == 0 {
			s.deploy("prog", program(i+1)) // 5: a program, whose instances are stopped while they are called
		} else {
			n++
			s.deploy("app", text(n, ""))
		}
	}
	before := app.count()
	eventually(t, patience, "the load goes on", func() bool { return app.count() > before+20 })
	app.stop(t)
	prog.stop(t)
	t.Logf("%d and %d calls", app.calls, prog.calls)
	if len(app.seen) < 20 {
		t.Errorf("the callers saw only %d versions", len(app.seen))
	}
}

// TestRolloutJudges: a revision that fails some calls is taken back by itself,
// and the reason has the numbers.
func TestRolloutJudges(t *testing.T) {
	s := up(t)
	rollout := "rollout: {steps: [50], interval: 1h, maxErrorPercent: 10, minRequests: 20}\n"
	s.deploy("app", "runtime: node\nconcurrency: 8\n"+rollout+inline("export default () => 'well'"))
	s.deploy("app", "runtime: node\nconcurrency: 8\n"+rollout+inline("let n = 0; export default () => { if (n++ % 2) throw new Error('no'); return 'odd' }"))
	failed := 0
	for i := 0; i < 2000; i++ {
		if a := s.get("app", "/"); a.status == 500 {
			failed++
		} else if a.status != 200 {
			t.Fatal(a)
		}
		if i%20 != 19 {
			continue
		}
		o, err := s.c.Get(t.Context(), kind("Function"), "app")
		if err != nil {
			t.Fatal(err)
		}
		var f api.Function
		if err := o.Into(&f); err != nil {
			t.Fatal(err)
		}
		if f.Status.Rollout.Phase == api.RolloutRolledBack {
			break
		}
	}
	f := until(s, kind("Function"), api.DefaultNamespace, "app", func(f *api.Function) bool { return f.Status.Rollout.Phase == api.RolloutRolledBack })
	c, _ := f.Status.Conditions.Get(api.ConditionUpdated)
	if failed == 0 || c.Status != api.False || c.Reason != api.RolloutRolledBack || !strings.Contains(c.Message, "answers were errors") || !f.Status.Conditions.Ready() {
		t.Errorf("%d failed, %+v", failed, f.Status.Conditions)
	}
	eventually(t, patience, "the gateway follows", func() bool {
		for range 20 {
			if s.get("app", "/").body != "well" {
				return false
			}
		}
		return true
	})
	out, _, _ := s.run("describe", "app")
	if !strings.Contains(out, "app@2 was rolled back") || !strings.Contains(out, "RolledBack") {
		t.Errorf("describe says\n%s", out)
	}
}

// serveGRPC makes this program a gRPC server, to be deployed by the test.
func serveGRPC() {
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	stream := func(_ any, s grpc.ServerStream) error {
		for {
			m := new(wrapperspb.StringValue)
			if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if m.Value == "fail" {
				return grpcstatus.Error(codes.DataLoss, "as asked")
			}
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
	}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "e2e.Echo", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: "Talk", Handler: stream, ServerStreams: true, ClientStreams: true},
	}}, struct{}{})
	s.Serve(l)
}

// TestGRPCFromZero deploys a gRPC server and talks to it, the first time with no
// instance running.
func TestGRPCFromZero(t *testing.T) {
	s := up(t)
	dir := t.TempDir()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "server"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	s.deploy("talk", "runtime: command\nport: {protocol: h2c}\nconcurrency: 10\nscale: {idle: 200ms}\ncommand: [./server]\nenv: [{name: HEARTH_E2E_GRPC, value: 'yes'}]\nsource: {folder: "+dir+"}\n")
	eventually(t, patience, "no instance runs", func() bool { return s.scaled("talk").Instances == 0 })
	cc, err := grpc.NewClient("passthrough:///"+s.gateway, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("talk.localhost"))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 2 { // from zero, and warm
		st, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/e2e.Echo/Talk")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			in, out := wrapperspb.String(strings.Repeat(fmt.Sprint(i), 5000)), new(wrapperspb.StringValue)
			if err := st.SendMsg(in); err != nil {
				t.Fatal(err)
			}
			if err := st.RecvMsg(out); err != nil || out.Value != in.Value {
				t.Fatalf("message %d: %d bytes, %v", i, len(out.Value), err)
			}
		}
		st.SendMsg(wrapperspb.String("fail"))
		if err := st.RecvMsg(new(wrapperspb.StringValue)); grpcstatus.Code(err) != codes.DataLoss {
			t.Error(err)
		}
	}
}

// TestStreamsFromZero opens a WebSocket and an event stream to a program that
// does not run.
func TestStreamsFromZero(t *testing.T) {
	s := up(t)
	s.deploy("live", "runtime: command\nconcurrency: 4\nscale: {idle: 200ms}\ncommand: [node, s.js]\n"+files(map[string]string{"s.js": `
const http = require('http'), crypto = require('crypto')
const s = http.createServer((q, r) => {
	r.writeHead(200, {'content-type': 'text/event-stream'})
	r.flushHeaders() // the client hears of it before there is anything to tell
	let n = 0
	q.socket.setTimeout(0)
	const more = setInterval(() => { r.write('data: ' + n++ + '\n\n'); if (n === 5) { clearInterval(more); r.end() } }, 20)
})
s.on('upgrade', (q, sock) => {
	const key = crypto.createHash('sha1').update(q.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
	sock.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + key + '\r\n\r\n')
	sock.on('data', (d) => sock.write(d))
	sock.on('end', () => sock.end())
	sock.on('error', () => {})
})
s.listen(process.env.PORT)`}))
	zero := func() {
		t.Helper()
		eventually(t, patience, "no instance runs", func() bool { return s.scaled("live").Instances == 0 })
	}
	zero()
	nc, br := s.dial("GET /chat HTTP/1.1\r\nHost: live.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v %v", res, err)
	}
	for _, word := range []string{"hello", "again"} {
		got := make([]byte, len(word))
		if _, err := io.WriteString(nc, word); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(br, got); err != nil || string(got) != word {
			t.Errorf("%q came back as %q: %v", word, got, err)
		}
	}
	nc.Close()
	zero()
	a := s.get("live", "/")
	if a.status != 200 || a.body != "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n" || a.header.Get("Content-Type") != "text/event-stream" {
		t.Error(a)
	}
}
