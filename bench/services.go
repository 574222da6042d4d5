package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// oneByteServer is the program of the node image, and of its bare run.
const oneByteServer = "require('http').createServer((q, s) => s.end('x')).listen(process.env.PORT)\n"

// services is section h: a service made of an image is called while it has no
// instance, right after the same program was started bare and called.
func (b *bench) services() error {
	per := 8
	if b.quick {
		per = 3
	}
	dir := filepath.Join(b.dir, "services")
	programs, err := b.serverPrograms(dir)
	if err != nil {
		return err
	}
	s, err := b.start("services-state")
	if err != nil {
		return err
	}
	defer s.stop()
	var all []function
	for _, p := range programs {
		if err := s.image(p); err != nil {
			return err
		}
		for i := range per {
			all = append(all, function{name: fmt.Sprintf("%s-%d", p.name, i), image: "hearth.local/default/" + p.name + ":1", idle: 15 * time.Second})
		}
	}
	if err := s.deploy(all); err != nil {
		return err
	}
	cold, bare := map[string][]time.Duration{}, map[string][]time.Duration{}
	for round := range b.rounds {
		if _, err := s.quiet(); err != nil {
			return err
		}
		begin := time.Now()
		taken := map[string]time.Duration{}
		names := map[string]string{}
		nc, err := dial(s.port)
		if err != nil {
			return err
		}
		for i := range per {
			for _, p := range programs {
				d, err := b.firstAnswer(p.bare)
				if err != nil {
					nc.Close()
					return fmt.Errorf("bare %s: %w", p.name, err)
				}
				bare[p.name] = append(bare[p.name], d)
				id := fmt.Sprintf("%s-%d-%d", p.name, i, round)
				if taken[id], err = nc.call(fmt.Sprintf("%s-%d", p.name, i), id); err != nil {
					nc.Close()
					return err
				}
				names[id] = p.name
				if err := b.pause(200 * time.Millisecond); err != nil {
					return err
				}
			}
		}
		nc.Close()
		was, err := s.coldCalls(begin, len(taken))
		if err != nil {
			return err
		}
		for id, d := range taken {
			if was[id] {
				cold[names[id]] = append(cold[names[id]], d)
			}
		}
	}
	for _, p := range programs {
		h, e := cold[p.name], bare[p.name]
		if len(h) == 0 {
			return fmt.Errorf("no call of %s was cold", p.name)
		}
		b.report.add(row{
			what: fmt.Sprintf("%s, p50 of %d", p.title, len(h)), hearth: fmt.Sprintf("%.2f ms", ms(median(h))),
			peer: fmt.Sprintf("bare %.2f ms", ms(median(e))), ratio: fmt.Sprintf("%.2f", share(median(h), median(e))),
		})
		b.report.add(row{
			what: p.title + ", p99", hearth: fmt.Sprintf("%.2f ms", ms(quantile(h, 0.99))),
			peer: fmt.Sprintf("bare %.2f ms", ms(quantile(e, 0.99))), ratio: fmt.Sprintf("%.2f", share(quantile(h, 0.99), quantile(e, 0.99))),
		})
	}
	b.report.remark("Bare: from exec of the same program on the host to the first byte of its answer, asked every 0.2 ms.")
	return nil
}

// serverProgram is a program, bare and as an image.
type serverProgram struct {
	name, title string
	bare        []string
	build       []string // arguments of hearth image build
}

func (b *bench) serverPrograms(dir string) ([]serverProgram, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	src, script := filepath.Join(dir, "main.go"), filepath.Join(dir, "server.js")
	// In an image a program listens on all addresses, as it would anywhere.
	if err := os.WriteFile(src, []byte(strings.NewReplacer("127.0.0.1:", ":", `hello, world\n`, "x").Replace(goProgram)), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(script, []byte(oneByteServer), 0o644); err != nil {
		return nil, err
	}
	static, err := b.compile(src, "static")
	if err != nil {
		return nil, err
	}
	node := b.find("node")
	if node.Err != nil {
		return nil, node.Err
	}
	root := filepath.Join(dir, "root")
	if err := copyProgram(node.Path, root); err != nil {
		return nil, err
	}
	if err := copyFile(script, filepath.Join(root, "server.js"), 0o644); err != nil {
		return nil, err
	}
	return []serverProgram{
		{"static", "static Go image", []string{static}, []string{static}},
		{"node", "node image", []string{node.Path, script}, []string{root, "--entrypoint", node.Path + ",/server.js"}},
	}, nil
}

// copyProgram copies a program with the libraries it needs to the same paths
// below root.
func copyProgram(program, root string) error {
	libraries, err := output("ldd", program)
	if err != nil {
		return fmt.Errorf("ldd: %w: %s", err, libraries)
	}
	files := []string{program}
	for _, w := range strings.Fields(libraries) {
		if filepath.IsAbs(w) {
			files = append(files, w)
		}
	}
	for _, f := range files {
		if err := copyFile(f, filepath.Join(root, f), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// image builds an image with the command line, as a user would.
func (s *server) image(p serverProgram) error {
	cmd := exec.CommandContext(s.b.ctx, s.b.binary, append(append([]string{"image", "build"}, p.build...), "-t", p.name+":1")...)
	cmd.Dir = filepath.Dir(s.state)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.b.dir, "HEARTH_URL=https://" + s.api, "HEARTH_TOKEN=" + s.token, "HEARTH_CA=" + filepath.Join(s.state, "ca.crt")}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("hearth image build: %w: %s", err, out)
	}
	return nil
}

// firstAnswer starts a program and returns how long it took until the first byte
// of its answer to a request. The program is ended.
func (b *bench) firstAnswer(command []string) (time.Duration, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	p, err := b.spawn(append(bareEnv(), "PORT="+port), command...)
	if err != nil {
		return 0, err
	}
	defer func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}()
	for time.Since(begin) < 10*time.Second {
		nc, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		defer nc.Close()
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		var one [1]byte
		_, err = nc.Read(one[:])
		return time.Since(begin), err
	}
	return 0, fmt.Errorf("%s does not answer", command[0])
}
