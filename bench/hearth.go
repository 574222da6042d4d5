package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// server is a running `hearth up`.
type server struct {
	b      *bench
	state  string
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{}
	client *client.Client
	port   string // of the gateway
	api    string // host:port of the API
	token  string
}

// up starts hearth in a state folder of that name and waits until it says where
// it listens.
func (b *bench) up(name string, args ...string) (*server, error) {
	s := &server{b: b, state: filepath.Join(b.dir, name), ended: make(chan struct{})}
	if err := os.Remove(filepath.Join(s.state, "context.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(args) == 0 {
		args = []string{"--gateway-port", "0", "--api-port", "0"}
	}
	s.cmd = exec.Command(b.binary, append([]string{"up", "--state", s.state}, args...)...)
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "LANG=C.UTF-8", "GOCACHE=" + goCache()}
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

func goCache() string {
	dir, _ := output("go", "env", "GOCACHE")
	return dir
}

// connect waits for the context file hearth writes when it is ready.
func (s *server) connect() error {
	var c struct{ URL, Token, CA, Gateway string }
	for {
		data, err := os.ReadFile(filepath.Join(s.state, "context.json"))
		if err == nil && json.Unmarshal(data, &c) == nil {
			break
		}
		select {
		case <-s.ended:
			return fmt.Errorf("hearth up ended: %s", s.stderr.String())
		default:
		}
		if err := s.b.pause(time.Millisecond); err != nil {
			return err
		}
	}
	u, err := url.Parse(c.Gateway)
	if err != nil {
		return err
	}
	a, err := url.Parse(c.URL)
	if err != nil {
		return err
	}
	s.port, s.api, s.token = u.Port(), a.Host, c.Token
	s.client, err = client.New(client.Config{URL: c.URL, CA: []byte(c.CA), Token: c.Token})
	return err
}

// start is up and connect.
func (b *bench) start(name string) (*server, error) {
	s, err := b.up(name)
	if err != nil {
		return nil, err
	}
	if err := s.connect(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// stop ends hearth as Ctrl-C does and waits for it.
func (s *server) stop() {
	if s.client != nil {
		s.client.Close()
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(60 * time.Second):
		s.b.note("hearth did not stop within a minute; killing it")
		s.cmd.Process.Kill()
		<-s.ended
	}
}

// function is what is deployed.
type function struct {
	name, runtime, code string
	image               string // instead of code
	idle                time.Duration
	concurrency, most   int
}

func (f function) manifest() []byte {
	spec := map[string]any{"runtime": f.runtime, "source": map[string]any{"inline": f.code}}
	if f.image != "" {
		spec = map[string]any{"source": map[string]any{"image": f.image}}
	}
	scale := map[string]any{}
	if f.idle > 0 {
		scale["idle"] = f.idle.String()
	}
	if f.most > 0 {
		scale["max"] = f.most
	}
	spec["scale"] = scale
	if f.concurrency > 0 {
		spec["concurrency"] = f.concurrency
	}
	data, _ := json.Marshal(map[string]any{
		"apiVersion": api.GroupVersion, "kind": "Function", "metadata": map[string]any{"name": f.name}, "spec": spec,
	})
	return data
}

// deploy creates functions through the API, many at a time, and waits until all
// of them are ready. Of several with the same Go code the first is built alone;
// the others find its artifact.
func (s *server) deploy(all []function) error {
	first := map[string]bool{}
	for _, f := range all {
		if f.runtime == "go" && len(all) > 1 && !first[f.code] {
			first[f.code] = true
			if err := s.deploy([]function{f}); err != nil {
				return err
			}
		}
	}
	kind, _ := api.KindOf(api.GroupVersion, "Function")
	ctx, cancel := context.WithCancelCause(s.b.ctx)
	defer cancel(nil)
	jobs := make(chan function)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for f := range jobs {
				if _, err := s.client.Create(ctx, kind, f.manifest(), client.WriteOptions{}); err != nil && !api.IsCode(err, api.CodeExists) {
					cancel(fmt.Errorf("create %s: %w", f.name, err))
				}
			}
		})
	}
	missing := map[string]bool{}
	for _, f := range all {
		missing[f.name] = true
		if ctx.Err() == nil {
			jobs <- f
		}
	}
	close(jobs)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.readyAll(missing)
}

// ready waits until a function serves.
func (s *server) ready(name string) error { return s.readyAll(map[string]bool{name: true}) }

// readyAll waits until every function of missing serves, and empties it.
func (s *server) readyAll(missing map[string]bool) error {
	kind, _ := api.KindOf(api.GroupVersion, "Function")
	ctx, all := s.b.ctx, len(missing)
	for ctx.Err() == nil {
		list, err := s.client.List(ctx, kind, client.ListOptions{})
		if err != nil {
			return err
		}
		failed := ""
		for _, o := range list.Items {
			f, err := client.As[api.Function](o, nil)
			if err != nil {
				return err
			}
			if f.Status.Conditions.Ready() {
				delete(missing, f.Metadata.Name)
			} else if c, ok := f.Status.Conditions.Get("Ready"); ok && c.Status == "False" && strings.HasSuffix(c.Reason, "Failed") {
				failed = f.Metadata.Name + ": " + c.Message
			}
		}
		if len(missing) == 0 {
			return nil
		}
		if failed != "" {
			return fmt.Errorf("function %s", failed)
		}
		if err := s.b.pause(max(100*time.Millisecond, time.Duration(all)*200*time.Microsecond)); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// pool bounds the pool of a built-in runtime.
func (s *server) pool(name string, least, most int) error {
	kind, _ := api.KindOf(api.GroupVersion, "Runtime")
	data, _ := json.Marshal(map[string]any{
		"apiVersion": api.GroupVersion, "kind": "Runtime", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"base": name, "pool": map[string]any{"size": least, "max": most}},
	})
	_, err := s.client.Create(s.b.ctx, kind, data, client.WriteOptions{})
	return err
}

// status is the part of hearth's status that matters here.
type status struct {
	Warm  map[string]int `json:"warm"`
	Scale []struct {
		Function  string `json:"function"`
		Instances int    `json:"instances"`
		Starting  int    `json:"starting"`
	} `json:"scale"`
}

func (s *server) status() (st status, err error) {
	data, err := s.client.Status(s.b.ctx)
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(data, &st)
}

// quiet waits until no function has an instance and no pool changes any more,
// and returns the pools' sizes.
func (s *server) quiet() (map[string]int, error) {
	last, same := "", 0
	for {
		st, err := s.status()
		if err != nil {
			return nil, err
		}
		running := 0
		for _, f := range st.Scale {
			running += f.Instances + f.Starting
		}
		now := fmt.Sprint(running, st.Warm)
		if now != last {
			last, same = now, 0
		}
		// A pool is looked after every 5 s.
		if same++; running == 0 && same >= 30 {
			return st.Warm, nil
		}
		if err := s.b.pause(200 * time.Millisecond); err != nil {
			return nil, err
		}
	}
}
