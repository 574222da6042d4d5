package container

import "testing"

func TestProbeAddress(t *testing.T) {
	for path, want := range map[string]string{
		"": "http://127.0.0.1:80/", "health": "http://127.0.0.1:80/health", "/a?b=c&d": "http://127.0.0.1:80/a?b=c&d", "up?x=1": "http://127.0.0.1:80/up?x=1",
		"/a%2Fb": "http://127.0.0.1:80/a%2Fb", "/50%": "http://127.0.0.1:80/50%25", "//other.example/x": "http://127.0.0.1:80/x", "http://other.example/y?z": "http://127.0.0.1:80/y?z",
	} {
		if got := address(path, 80).String(); got != want {
			t.Errorf("%q leads to %s, want %s", path, got, want)
		}
	}
}
