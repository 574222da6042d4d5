package sandbox

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, change ...func(*Options)) *Host {
	t.Helper()
	o := Options{State: t.TempDir()}
	for _, f := range change {
		f(&o)
	}
	h, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		if err := h.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

// shell runs a script in a box and returns what it printed.
func shell(t *testing.T, h *Host, c Config, script string) string {
	t.Helper()
	var out bytes.Buffer
	c.Args = []string{"/bin/sh", "-c", script}
	e, err := h.Run(t.Context(), c, &out)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	if e.Code != 0 {
		t.Fatalf("%s: %s\n%s", script, e.Reason, out.String())
	}
	return strings.TrimSpace(out.String())
}

func TestStart(t *testing.T) {
	h := open(t)
	t.Log(shell(t, h, Config{}, "id; ls -la / /dev /etc; cat /proc/self/mountinfo; ps aux 2>&1; hostname; env; cat /proc/self/status | grep -E 'Cap|Seccomp|NoNew'; ulimit -n"))
	for range 10 {
		b, err := h.Start(t.Context(), Config{Args: []string{"/bin/true"}})
		if err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		t.Log(b.Exit(), b.StartTime())
	}
}
