package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/core/record"
)

// TestNeighbours lets functions do their worst while another one and the API
// answer all the time.
func TestNeighbours(t *testing.T) {
	s := up(t)
	s.deploy("good", "runtime: node\nconcurrency: 16\n"+inline("export default () => 'good'"))
	for _, c := range []struct {
		name, spec string
		node       string // handler's body; called with ?bad it misbehaves
		status     []int  // what the bad call may get
		why        string // found by describe, logs or calls
	}{
		{
			name: "memory", spec: "limits: {memory: 96Mi}\n",
			node:   `const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1))`,
			status: []int{502}, why: "out of memory (limit 96Mi",
		},
		{
			name: "heap", spec: "limits: {memory: 64Mi}\n",
			node:   `const all = []; for (;;) all.push({a: [1, 2, 3, String(all.length)]})`,
			status: []int{502}, why: "out of memory",
		},
		{
			name: "forks", spec: "limits: {processes: 32}\ntimeout: 2s\n",
			node: `const {spawn} = require('child_process')
				let failed = 0, n = 0
				const one = () => { const p = spawn('/bin/sh', ['-c', ':(){ :|:& };:; sleep 100']); n++; p.on('error', () => failed++) }
				for (let i = 0; i < 200; i++) { try { one() } catch (e) { failed++ } }
				return new Promise(() => {})`,
			status: []int{502, 504}, why: "",
		},
		{
			name: "disk", spec: "limits: {disk: 8Mi}\n",
			node:   `const fs = require('fs'); const fd = fs.openSync('/tmp/full', 'w'); for (;;) fs.writeSync(fd, Buffer.alloc(1 << 20))`,
			status: []int{500}, why: "ENOSPC",
		},
		{
			name: "loop", spec: "timeout: 1s\n",
			node: `for (;;);`, status: []int{504}, why: "timeout",
		},
		{
			name: "loopcpu", spec: "timeout: 1s\nlimits: {cpu: 200m}\n",
			node: `for (;;);`, status: []int{504}, why: "timeout",
		},
		{
			name: "crash", node: `process.abort()`,
			status: []int{502}, why: "ended by SIG",
		},
		{
			name: "exit", node: `process.exit(7)`,
			status: []int{502, 503}, why: "exited with status 7",
		},
		{
			name:   "files",
			node:   `const fs = require('fs'); const all = []; for (let i = 0; i < 100000; i++) all.push(fs.openSync('/tmp/f' + (i % 100), 'a'))`,
			status: []int{500, 502}, why: "EMFILE",
		},
		{
			name: "sockets", spec: "timeout: 60s\n",
			node: `const net = require('net'); return new Promise((ok, no) => {
				const s = net.createServer(() => {}).listen(0, '127.0.0.1', () => {
					let n = 0; const one = () => { const c = net.connect(s.address().port, '127.0.0.1'); c.on('error', no); c.on('connect', () => { if (++n > 20000) ok('all'); else one() }) }
					for (let i = 0; i < 50; i++) one()
				}); s.on('error', no) })`,
			status: []int{500, 502}, why: "",
		},
		{
			name: "logs", spec: "timeout: 2s\n",
			node:   `const line = 'x'.repeat(1000); for (;;) { for (let i = 0; i < 100; i++) console.log(line); await new Promise(r => setImmediate(r)) }`,
			status: []int{504}, why: "timeout",
		},
		{
			name: "logsatonce", spec: "limits: {memory: 160Mi}\n",
			node:   `const line = 'x'.repeat(1000); for (let i = 0; i < 300000; i++) console.log(line); await new Promise(r => setTimeout(r, 500)); throw new Error('enough')`,
			status: []int{500}, why: "lines were left out here",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.deploy(c.name, "runtime: node\n"+c.spec+inline("exports.handler = async (event) => { if (!('bad' in event.query)) return 'fine'\n"+c.node+"\n}"))
			if got := s.must(c.name, "/"); got != "fine" {
				t.Fatalf("before: %q", got)
			}
			l := s.load("good", 2, nil)
			begun := l.count()
			a := s.get(c.name, "/?bad")
			ok := false
			for _, st := range c.status {
				ok = ok || a.status == st
			}
			if !ok || a.err != nil {
				t.Errorf("the bad call got %s, want one of %v", a, c.status)
			}
			if a.status > 500 && (a.header.Get("X-Hearth-Error") == "" || !strings.Contains(a.body, `"hint"`)) {
				t.Errorf("the bad call's error says nothing: %s", a)
			}
			eventually(t, patience, "a good call is answered again", func() bool { return s.get(c.name, "/").body == "fine" })
			eventually(t, patience, "the neighbour went on", func() bool { return l.count() > begun+50 })
			l.stop(t)
			if c.why != "" {
				eventually(t, patience, fmt.Sprintf("%q is said by describe, logs or calls", c.why), func() bool { return strings.Contains(s.said(c.name), c.why) })
			}
			if t.Failed() {
				t.Log(tail(s.said(c.name), 3000))
			}
		})
	}
}

// in is s with another test to complain to.
func (s *server) in(t testing.TB) *server {
	d := *s
	d.t = t
	return &d
}

// said is all that a user can learn about a function.
func (s *server) said(name string) string {
	d, _, _ := s.run("describe", name)
	l, _, _ := s.run("logs", name)
	calls, err := s.c.Calls(s.t.Context(), record.Query{Function: name})
	var b strings.Builder
	for _, c := range calls {
		fmt.Fprintf(&b, "call %d %s %s\n", c.Status, c.Code, c.Request)
	}
	return fmt.Sprintf("%s\n%s\n%v\n%s", d, tail(l, 20000), err, b.String())
}
