package container

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox/killtest"
)

// hearth runs a pod until it is killed.
func hearth(state, image string) int {
	fail := func(err error) int { fmt.Println(err); return 1 }
	e, _, _, err := openIn(context.Background(), state, nil)
	if err != nil {
		return fail(err)
	}
	s := pod(engine.Container{Image: image, Mounts: []engine.Mount{{Volume: "v", Path: "/v", Write: true}}}, engine.Container{Image: image, Args: []string{"at", "9000"}})
	s.Pod.Volumes = []engine.Volume{{Name: "v", Empty: true, Memory: true}}
	in, err := e.Start(context.Background(), s)
	if err != nil {
		return fail(err)
	}
	for _, b := range in.(*instance).boxes {
		fmt.Print(b.Pid(), " ")
	}
	fmt.Println()
	io.Copy(io.Discard, os.Stdin)
	return 1
}

// TestNothingOutlivesAKill kills a process that runs containers.
func TestNothingOutlivesAKill(t *testing.T) {
	b := open(t)
	img := push(t, v1.Config{Entrypoint: []string{"/bin/server"}})
	i, err := b.store.Fetch(t.Context(), img, authOf("default"))
	if err != nil {
		t.Fatal(err)
	}
	i.Release()
	b.Close(t.Context()) // its store is the child's from here
	state := filepath.Dir(filepath.Dir(b.copies))
	c := exec.CommandContext(t.Context(), os.Args[0], "hearth", state+"/other", img)
	if err := os.Mkdir(state+"/other", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(state+"/images", state+"/other/images"); err != nil { // it has no registry
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	killtest.Run(t, c, 2, nil)
	e, h, _, err := openIn(t.Context(), state+"/other", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(context.Background())
	defer e.Close(context.Background())
	if left, _ := os.ReadDir(state + "/other/sandbox/roots"); len(left) > 0 {
		t.Errorf("left on the disk: %v", left)
	}
	if m, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(m), state) {
		t.Errorf("mounts are left:\n%s", m)
	}
}
