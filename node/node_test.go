package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/node"
	"github.com/hearth-run/hearth/sandbox"
)

// patience is how long a test waits for what comes at once unless something is
// broken, or the machine has much else to do.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if sandbox.Main(os.Args) {
		return
	}
	http.DefaultClient.Timeout = patience // a call that hangs fails its test, not the run
	os.Exit(m.Run())
}

func config(t *testing.T) node.Config {
	return node.Config{
		State: t.TempDir(), GatewayAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0", Version: "test",
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func up(t *testing.T, c node.Config) (*node.Node, *client.Client) {
	t.Helper()
	n, err := node.Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	cl, err := client.New(client.Config{URL: n.APIURL, CA: n.CA, Token: n.Token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return n, cl
}

func functions() api.Kind {
	k, _ := api.KindOf(api.GroupVersion, "Function")
	return k
}

// deploy applies a node function and waits for the verdict.
func deploy(t *testing.T, c *client.Client, name, code string) *api.Function {
	t.Helper()
	body, _ := json.Marshal(map[string]any{
		"apiVersion": api.GroupVersion, "kind": "Function", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"runtime": "node", "source": map[string]any{"inline": code}},
	})
	if _, err := c.Apply(t.Context(), functions(), name, body, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for e, err := range c.Watch(ctx, functions(), client.ListOptions{Fields: "metadata.name=" + name}, "") {
		f, err := client.As[api.Function](e.Object, err)
		if err != nil {
			t.Fatal(err)
		}
		if u, _ := f.Status.Conditions.Get(api.ConditionUpdated); u.Status == api.True {
			return f
		} else if u.Status == api.False {
			t.Fatalf("%s: %s", name, u.Message)
		}
	}
	t.Fatalf("%s has no verdict", name)
	return nil
}

func get(t *testing.T, n *node.Node, path string) string {
	t.Helper()
	res, err := http.Get(n.GatewayURL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", string(b))
}

func TestUp(t *testing.T) {
	c := config(t)
	n, cl := up(t, c)
	f := deploy(t, cl, "hello", "export default () => 'hello'")
	if got := get(t, n, "/~default/hello/"); got != "200 hello" {
		t.Error(got)
	}
	if !strings.HasPrefix(f.Status.URL, "http://hello.localhost:") {
		t.Errorf("its address is %q", f.Status.URL)
	}
	for _, file := range []string{n.Kubeconfig, filepath.Join(n.State, "token.key"), filepath.Join(n.State, "secrets.key"), filepath.Join(n.State, "hearth.db")} {
		if i, err := os.Stat(file); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want 0600", file, i.Mode(), err)
		}
	}
	var st node.Status
	raw, err := cl.Status(t.Context())
	if err != nil || json.Unmarshal(raw, &st) != nil || st.PID != os.Getpid() || st.Version != "test" || st.Gateway != n.GatewayURL || len(st.Scale) != 1 {
		t.Errorf("status %s %v", raw, err)
	}
	// A second one in the same folder, here even of the same process.
	if _, err := node.Up(t.Context(), c); !api.IsCode(err, api.CodeHeld) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) || api.AsError(err).Help() == "" {
		t.Errorf("a second node: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 2 { // closing twice is no error
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	again, _ := up(t, c)
	if got := get(t, again, "/~default/hello/"); got != "200 hello" {
		t.Errorf("after the restart: %s", got)
	}
}

// TestUpUndoes holds that a start that fails leaves nothing behind.
func TestUpUndoes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	c := config(t)
	for name, change := range map[string]func(*node.Config){
		"--gateway-port": func(c *node.Config) { c.GatewayAddr = taken.Addr().String() },
		"--api-port":     func(c *node.Config) { c.APIAddr = taken.Addr().String() },
	} {
		bad := c
		change(&bad)
		_, err := node.Up(t.Context(), bad)
		if !api.IsCode(err, api.CodePortTaken) || !strings.Contains(err.Error(), fmt.Sprintf("port %s is used by", port)) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) ||
			!strings.Contains(api.AsError(err).Help(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := c
	bad.State = filepath.Join(file, "state")
	if _, err := node.Up(t.Context(), bad); !api.IsCode(err, api.CodeDisk) || !strings.Contains(api.AsError(err).Help(), "--state") {
		t.Errorf("a state folder that cannot be: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := node.Up(ctx, c); err == nil {
		n.Close(context.Background())
		t.Error("it came up although its context had ended")
	}
	if err := os.WriteFile(filepath.Join(c.State, "hearth.db"), []byte(strings.Repeat("this is no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := node.Up(t.Context(), c); err == nil {
		n.Close(context.Background())
		t.Error("it came up with a damaged database")
	} else if !strings.Contains(err.Error(), "hearth.db") {
		t.Errorf("a damaged database: %v", err)
	}
	os.Remove(filepath.Join(c.State, "hearth.db"))
	up(t, c) // nothing is held any more
}

// TestPoorHost runs functions without what some hosts lack; their condition says
// so.
func TestPoorHost(t *testing.T) {
	for _, without := range [][]string{
		{"cgroup memory", "cgroup cpu", "cgroup pids"},
		{"private network", "network namespaces"},
		{"new mount calls", "pidfd", "seccomp"},
	} {
		t.Run(strings.Join(without, ", "), func(t *testing.T) {
			c := config(t)
			c.Without = without
			n, cl := up(t, c)
			f := deploy(t, cl, "f", "export default () => 'served'")
			if got := get(t, n, "/~default/f/"); got != "200 served" {
				t.Error(got)
			}
			missing := 0
			for _, x := range n.Findings() {
				if !x.OK {
					missing++
					if x.Detail == "" || x.Fix == "" {
						t.Errorf("a check without help: %+v", x)
					}
				}
			}
			if i, _ := f.Status.Conditions.Get(api.ConditionIsolated); missing == 0 || i.Status != api.False || i.Message == "" {
				t.Errorf("%d checks failed, the condition is %+v", missing, i)
			}
		})
	}
}
