package container

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/sandbox/lines"
)

func TestCommand(t *testing.T) {
	img := image.Config{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}
	for _, c := range []struct {
		command, args string
		img           image.Config
		want          string
	}{
		{"", "", img, "entry cmd"},
		{"", "a b", img, "entry a b"},
		{"c", "", img, "c"},
		{"c d", "a", img, "c d a"},
		{"", "", image.Config{Cmd: []string{"cmd"}}, "cmd"},
		{"", "a", image.Config{Cmd: []string{"cmd"}}, "a"},
		{"", "", image.Config{}, ""},
	} {
		got := command(&engine.Container{Command: strings.Fields(c.command), Args: strings.Fields(c.args)}, c.img)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q %q: %q, want %q", c.command, c.args, got, c.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := environment(image.Config{Env: []string{"A=image", "B=image", "=bad", "bad", "E=a=b"}}, map[string]string{"B": "pod", "C": "pod"}, map[string]string{"C": "container"})
	if want := []string{"A=image", "B=pod", "C=container", "E=a=b", "PATH=" + defaultPath}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLastWords writes much on one stream and little on the other.
func TestLastWords(t *testing.T) {
	o := newOutput(nil, "x")
	o.line("stderr", "Traceback")
	o.line("stderr", "ImportError")
	for i := range 1000 {
		o.line("stdout", fmt.Sprint("line ", i))
	}
	last := strings.Split(o.last(), "\n")
	if len(last) != tailLines || last[0] != "Traceback" || last[1] != "ImportError" || last[tailLines-1] != "line 999" {
		t.Errorf("%q", last)
	}
	for range 100 {
		o.line("stderr", strings.Repeat("ü", lines.Max))
	}
	if n := len(o.last()); n > tailBytes || n < tailBytes/2 {
		t.Errorf("%d bytes are kept", n)
	}
}

func TestStopSignal(t *testing.T) {
	for text, want := range map[string]int{"": 15, "SIGINT": 2, "int": 2, "9": 9, "SIGNOTHING": 15, "99": 15} {
		if got := int(stopSignal(text)); got != want && signalNumber("SIGINT") != 0 {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

func FuzzHealthAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 9, 18, 1, 'x', 25, 1, 2, 3, 4, 5})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		status, err := healthAnswer(b)
		if err != nil && status != 0 {
			t.Errorf("status %d with %v", status, err)
		}
		if len(b) == 5 && err == nil && status != 0 {
			t.Errorf("an empty answer is status %d", status)
		}
	})
}

func TestHealth(t *testing.T) {
	if got := healthRequest("shop"); string(got) != "\x00\x00\x00\x00\x06\x0a\x04shop" {
		t.Errorf("%q", got)
	}
	if n, err := healthAnswer([]byte{0, 0, 0, 0, 5, 18, 1, 'x', 8, 1}); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	for _, bad := range []string{"", "\x00\x00\x00\x00\x02\x08", "\x01\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x02\x12\x7f"} {
		if _, err := healthAnswer([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
