package cli_test

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hearth-run/hearth/cli"
	"github.com/hearth-run/hearth/sandbox"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// patience is how long a script waits for what comes soon unless something is
// broken, or the machine has much else to do.
const patience = 2 * time.Minute

// TestMain lets the test binary be the hearth command for scripts.
func TestMain(m *testing.M) {
	if sandbox.Main(os.Args) {
		return
	}
	testscript.Main(m, map[string]func(){
		"hearth": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(cli.Run(ctx, os.Args[1:], cli.System(), cli.Env{Vars: cli.Environ(os.Environ()), Version: "0.0.0-test", Start: cli.StartNode}))
		},
	})
}

// TestScript runs what needs no running hearth.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup:               setup,
		Cmds:                commands(),
	})
}

// TestUp runs scripts against a real hearth up.
func TestUp(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/up",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup:               setup,
		Cmds:                commands(),
	})
}

func setup(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, ".home")
	e.Setenv("HOME", home)
	e.Setenv("NO_COLOR", "1")
	// Go's own caches, so that scripts that build Go need not start from nothing.
	if cache, err := os.UserCacheDir(); err == nil {
		e.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
	}
	for _, name := range []string{"GOPATH", "GOMODCACHE"} {
		if v := os.Getenv(name); v != "" {
			e.Setenv(name, v)
		}
	}
	e.Setenv("GOFLAGS", "")
	return os.MkdirAll(home, 0o755)
}

// commands are the words scripts have beside testscript's own.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		// awaits FILE REGEXP: until the file has a match, at most two minutes.
		"awaits": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 2 {
				ts.Fatalf("usage: awaits FILE REGEXP")
			}
			want, err := regexp.Compile("(?m)" + args[1])
			ts.Check(err)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for limit := time.After(patience); ; {
				text, err := os.ReadFile(ts.MkAbs(args[0]))
				if err == nil && want.Match(text) {
					return
				}
				select {
				case <-tick.C:
				case <-limit:
					ts.Fatalf("%s has no match for %s after %s:\n%s", args[0], args[1], patience, text)
				}
			}
		},
		// until REGEXP PROGRAM ARGS…: again and again until its output matches,
		// at most two minutes: logs and calls are kept in batches.
		"until": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < 2 {
				ts.Fatalf("usage: until REGEXP PROGRAM [ARG…]")
			}
			want, err := regexp.Compile("(?m)" + args[0])
			ts.Check(err)
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for limit := time.After(patience); ; {
				err := ts.Exec(args[1], args[2:]...)
				if err == nil && want.MatchString(ts.ReadFile("stdout")) {
					return
				}
				select {
				case <-tick.C:
				case <-limit:
					ts.Fatalf("no match for %s after %s", args[0], patience)
				}
			}
		},
		// exits CODE hearth ARGS…: the exit code is exactly that one.
		"exits": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < 2 {
				ts.Fatalf("usage: exits CODE PROGRAM [ARG…]")
			}
			err := ts.Exec(args[1], args[2:]...)
			code := "0"
			if err != nil {
				text := err.Error()
				code = strings.TrimPrefix(text, "exit status ")
			}
			if code != args[0] {
				ts.Fatalf("exit code %s, want %s", code, args[0])
			}
		},
	}
}
