package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// scaled is what /hearth/v1/status says of a function's newest revision.
type scaled struct {
	Function, Revision                string
	Instances, Busy, Queued, Starting int
	Error                             string
}

func (s *server) scaled(function string) (out scaled) {
	raw, err := s.c.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var all struct{ Scale []scaled }
	if err := json.Unmarshal(raw, &all); err != nil {
		s.t.Fatal(err)
	}
	for _, x := range all.Scale {
		if x.Function == function {
			out = x
		}
	}
	return out
}

// inFlight counts calls inside one instance.
const inFlight = `let now = 0, most = 0
exports.handler = async (event) => {
	most = Math.max(most, ++now)
	await new Promise(r => setTimeout(r, +(event.query.ms || 20)))
	now--
	return {most, pid: process.getuid()}
}`

func TestScale(t *testing.T) {
	s := up(t)

	// burst makes so many calls at once.
	burst := func(name, path string, n int) (answers []answer) {
		web := s.web()
		var wg sync.WaitGroup
		answers = make([]answer, n)
		for i := range n {
			wg.Go(func() { answers[i] = s.do(web, "GET", name, path, "") })
		}
		wg.Wait()
		return answers
	}

	for _, c := range []struct{ concurrency, max int }{{1, 3}, {5, 1}, {3, 2}} {
		t.Run(fmt.Sprintf("concurrency %d max %d", c.concurrency, c.max), func(t *testing.T) {
			name := fmt.Sprintf("c%d", c.concurrency)
			s := s.in(t)
			s.deploy(name, fmt.Sprintf("runtime: node\nconcurrency: %d\nscale: {max: %d}\n", c.concurrency, c.max)+inline(inFlight))
			most, instances := 0, map[int]bool{}
			// Long enough calls, and enough of them, for every instance to start meanwhile.
			for _, a := range burst(name, "/?ms=300", 12*c.concurrency*c.max) {
				var v struct{ Most, PID int }
				if a.status != 200 || json.Unmarshal([]byte(a.body), &v) != nil {
					t.Fatal(a)
				}
				most, instances[v.PID] = max(most, v.Most), true
			}
			if most != c.concurrency || len(instances) != c.max {
				t.Errorf("at most %d calls at a time in %d instances, want %d in %d", most, len(instances), c.concurrency, c.max)
			}
			var got scaled
			eventually(t, patience, "the status says so, and that nothing is to do", func() bool {
				got = s.scaled(name)
				return got.Instances == c.max && got.Busy == 0 && got.Queued == 0
			})
			if t.Failed() {
				t.Logf("status says %+v", got)
			}
		})
	}

	t.Run("to zero and back", func(t *testing.T) {
		s := s.in(t)
		s.deploy("zero", "runtime: node\nscale: {idle: 500ms}\n"+inline("let n = 0; export default () => String(++n)"))
		s.must("zero", "/")
		eventually(t, patience, "the idle instance is gone", func() bool { return s.scaled("zero").Instances == 0 })
		if got := s.must("zero", "/"); got != "1" {
			t.Errorf("after zero the first call is number %s", got)
		}
		_, talk, _ := s.run("invoke", "zero")
		if !strings.Contains(talk, "200 OK") || !strings.Contains(talk, "zero@1") {
			t.Errorf("invoke says %s", talk)
		}
	})

	t.Run("minimum", func(t *testing.T) {
		s := s.in(t)
		s.deploy("least", "runtime: node\nscale: {min: 2, max: 4, idle: 300ms}\n"+inline("exports.handler = (event) => { if (event.query.die !== undefined) process.exit(1); return 'x' }"))
		eventually(t, patience, "two instances run without a call", func() bool { return s.scaled("least").Instances == 2 })
		burst("least", "/", 20)
		eventually(t, patience, "two instances are kept", func() bool { return s.scaled("least").Instances == 2 })
		s.get("least", "/?die")
		eventually(t, patience, "the lost one is replaced", func() bool { return s.scaled("least").Instances == 2 && s.must("least", "/") == "x" })
	})

	t.Run("queue", func(t *testing.T) {
		s := s.in(t)
		s.deploy("queue", "runtime: node\nscale: {max: 1}\ntimeout: 8s\n"+inline("exports.handler = async (event) => { await new Promise(r => setTimeout(r, 700)); return 'x' }"))
		status := map[int]int{}
		for _, a := range burst("queue", "/", 1100) {
			status[a.status]++
			switch a.status {
			case 429:
				if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 || a.header.Get("X-Hearth-Error") != "queue_full" {
					t.Fatalf("429: %s %v", a, a.header)
				}
			case 503:
				if a.header.Get("Retry-After") == "" || a.header.Get("X-Hearth-Error") != "queue_timeout" {
					t.Fatalf("503: %s %v", a, a.header)
				}
			case 504: // its time was over as its turn came
			case 200:
			default:
				t.Fatal(a)
			}
		}
		if status[429] == 0 || status[200] == 0 || status[429] > 200 {
			t.Errorf("1100 calls at once of a function that answers one: %v", status)
		}
	})

	t.Run("timeout", func(t *testing.T) {
		s := s.in(t)
		s.deploy("late", "runtime: node\nscale: {max: 1}\ntimeout: 3s\n"+inline("exports.handler = async (event) => { if (event.query.late !== undefined) await new Promise(r => setTimeout(r, 60000)); return 'x' }"))
		s.must("late", "/") // an instance runs
		begin := time.Now()
		a := s.get("late", "/?late")
		if took := time.Since(begin); a.status != 504 || a.header.Get("X-Hearth-Error") != "timeout" || took < 2500*time.Millisecond || took > 30*time.Second {
			t.Errorf("after %s: %s", took, a)
		}
		if got := s.must("late", "/"); got != "x" {
			t.Errorf("the next call: %s", got)
		}
	})

	t.Run("cannot start", func(t *testing.T) {
		s := s.in(t)
		l := newCounter(t)
		// It loads once, for the check of the deployment, and never again.
		s.deploy("never", "runtime: command\nnetwork: host\nscale: {idle: 200ms}\ncommand: [python3, s.py]\n"+files(map[string]string{"s.py": fmt.Sprintf(`
import os, socket, http.server
c = socket.create_connection(("127.0.0.1", %d)); n = int(c.recv(10)); c.close()
if n > 1: raise SystemExit(9)
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
`, l.port)}))
		eventually(t, patience, "no instance is left", func() bool { return s.scaled("never").Instances == 0 })
		before := l.count()
		status, calls := map[string]int{}, 0
		web := s.web()
		var retry bool
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); calls++ {
			a := s.do(web, "GET", "never", "/", "")
			status[fmt.Sprint(a.status, a.header.Get("X-Hearth-Error"))]++
			retry = retry || a.header.Get("Retry-After") != ""
		}
		starts := l.count() - before
		t.Logf("%d calls caused %d starts: %v", calls, starts, status)
		if starts < 1 || starts > 12 {
			t.Errorf("%d starts within 5 s", starts)
		}
		if len(status) != 1 || status["502load_failed"] == 0 || !retry {
			t.Errorf("the callers got %v", status)
		}
		if said := s.said("never"); !strings.Contains(said, "load_failed") {
			t.Errorf("nothing says why:\n%s", said)
		}
		if _, talk, code := s.run("invoke", "never"); code != 1 || !strings.Contains(talk, "status 9") || !strings.Contains(talk, "hint: ") {
			t.Errorf("invoke: %d %s", code, talk)
		}
		out, _, _ := s.run("describe", "never")
		if line, _, _ := strings.Cut(out, "\n"); !strings.Contains(line, "does not start any more") || !strings.Contains(line, "status 9") {
			t.Errorf("the verdict of describe is %q", line)
		}
	})
}
