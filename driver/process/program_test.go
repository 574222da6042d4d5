package process

import (
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/enginetest"
)

// portServer is a program as any: it serves on $PORT and knows nothing of us.
const portServer = `
import os, sys, time, http.server, threading
SLOW
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while True:
                n = int(self.rfile.readline(), 16)
                body += self.rfile.read(n); self.rfile.readline()
                if n == 0: break
        if "env=" in self.path:
            body = os.environ.get(self.path.split("env=")[1], "").encode()
        CRASH
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_GET = do_POST
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
`

func programSpec(artifact func(map[string]string) string, network, slow, crash string) engine.Spec {
	code := strings.NewReplacer("SLOW", slow, "CRASH", crash).Replace(portServer)
	s := spec(api.RuntimeCommand, artifact(map[string]string{"app.py": code}))
	s.Command, s.Network = []string{"python3", "app.py"}, network
	return s
}

func TestConformanceCommand(t *testing.T) {
	for _, network := range []string{"private", "host"} {
		t.Run(network, func(t *testing.T) {
			enginetest.Run(t, func(t testing.TB) (engine.Engine, enginetest.Samples) {
				e, artifact, _ := open(t, nil)
				s := enginetest.Samples{
					Echo:   programSpec(artifact, network, "", ""),
					Broken: programSpec(artifact, network, "import does_not_exist", ""),
					Crash:  programSpec(artifact, network, "", "os._exit(3)"),
					Slow:   programSpec(artifact, network, "time.sleep(2.5)", ""),
					Call:   call, Alive: e.alive,
				}
				s.Missing = s.Echo
				s.Missing.Command, s.Missing.Handler = nil, "app.nothing"
				return e, s
			})
		})
	}
}

// TestSocketProgram starts a program that takes over the inherited socket.
func TestSocketProgram(t *testing.T) {
	e, artifact, _ := open(t, nil)
	s := spec(api.RuntimeCommand, artifact(map[string]string{"server.js": `
require('http').createServer((q, s) => s.end('by socket ' + q.url)).listen({fd: Number(process.env.HEARTH_LISTEN_FD)})`}))
	s.Command = []string{"node", "server.js"}
	in, err := e.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	answer(t, in, "by socket /")
	nc, err := in.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if n := nc.RemoteAddr().Network(); n != "unix" {
		t.Errorf("dialled over %s, want unix", n)
	}
}
