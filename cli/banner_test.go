package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// TestBannerFits: no line is wider than the terminal, and nothing is left out.
func TestBannerFits(t *testing.T) {
	r := &Running{GatewayURL: "http://localhost:8080", APIURL: "https://localhost:4000", State: ".hearth", Engine: "process", Ready: 40 * time.Millisecond,
		Findings: []engine.Finding{{Check: "own users"}, {Check: "seccomp", OK: true}}}
	for _, width := range []int{0, 60, 80, 200} {
		a := &app{Streams: Streams{Width: width}, env: Env{Version: "0"}}
		text := a.banner(r, true)
		if other := a.banner(r, false); !strings.Contains(other, "export HEARTH_STATE=.hearth") || strings.Contains(other, "local\"") {
			t.Errorf("%d columns:\n%s", width, other)
		}
		for _, l := range strings.Split(text, "\n") {
			if width > 0 && len([]rune(l)) > width {
				t.Errorf("%d columns: %q", width, l)
			}
		}
		for _, want := range []string{"http://<name>.localhost:8080", `kubectl: eval "$(hearth env)"`, "./.hearth", "not here: own users; hearth doctor"} {
			if !strings.Contains(text, want) {
				t.Errorf("%d columns: no %q in\n%s", width, want, text)
			}
		}
		if lines := strings.Count(text, "\n"); width != 60 && width != 80 && lines > 6 {
			t.Errorf("%d columns: %d lines", width, lines)
		}
	}
}
