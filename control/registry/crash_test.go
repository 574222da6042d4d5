package registry_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/hearth-run/hearth/control/registry"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/token"
)

const asChild = "HEARTH_REGISTRY_TEST"

// TestMain lets the test binary be a registry that can be killed.
func TestMain(m *testing.M) {
	dir := os.Getenv(asChild)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := child(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func child(dir string) error {
	tokens, err := token.Open(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	g, err := registry.Open(registry.Options{Dir: filepath.Join(dir, "registry"), Identity: tokens})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, g)
}

// TestKilled: whatever was acknowledged before a kill is there after it, and
// nothing half done is.
func TestKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tokens, err := token.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := tokens.Issue(t.Context(), identity.Caller{Name: "ada", Roles: []string{identity.RoleEditor}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	auth := remote.WithAuth(&authn.Basic{Username: "x", Password: secret})
	start := func() (*exec.Cmd, string) {
		c := exec.CommandContext(t.Context(), exe)
		c.Env = append(os.Environ(), asChild+"="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return c, strings.TrimSpace(line)
	}
	ref := func(host, what string) name.Reference {
		r, err := name.ParseReference(host + "/shop/" + what)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	acked := map[string]string{} // image → digest
	for round := range 12 {
		c, host := start()
		die := time.AfterFunc(time.Duration(rand.Int64N(int64(300*time.Millisecond))), func() { c.Process.Kill() })
		for n := 0; ; n++ {
			img := randomImage(t)
			what := fmt.Sprintf("a%d:%d", n%3, round)
			if err := remote.Write(ref(host, what), img, auth, remote.WithRetryBackoff(remote.Backoff{Steps: 1})); err != nil {
				break // it is gone
			}
			d, err := img.Digest()
			if err != nil {
				t.Fatal(err)
			}
			acked[what] = d.String()
		}
		c.Wait()
		die.Stop()
	}
	c, host := start()
	defer func() { c.Process.Kill(); c.Wait() }()
	t.Logf("%d pushes were acknowledged", len(acked))
	for what, digest := range acked {
		img, err := remote.Image(ref(host, what), auth)
		if err == nil {
			err = validate.Image(img)
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		// A push that was not acknowledged may have moved the tag since.
		if d, _ := img.Digest(); d.String() != digest {
			if _, err := remote.Image(ref(host, strings.Split(what, ":")[0]+"@"+digest), auth); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if es, err := os.ReadDir(filepath.Join(dir, "registry", "new")); err != nil || len(es) > 0 {
		t.Errorf("half done: %v %v", es, err)
	}
}
