package sql

import (
	"log/slog"
	"runtime/debug"
)

// modernc.org/sqlite is C translated against one version of modernc.org/libc;
// with another it may compile and then misbehave. A test holds that go.mod has
// the pair; this one sees programs built with other versions.
const (
	sqliteVersion = "v1.55.0"
	libcVersion   = "v1.74.1"
)

// checkPair warns when this program was not built with the tested pair.
func checkPair(log *slog.Logger) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, m := range info.Deps {
		want := map[string]string{"modernc.org/sqlite": sqliteVersion, "modernc.org/libc": libcVersion}[m.Path]
		if want != "" && m.Version != want {
			log.Warn("built with an untested version", "module", m.Path, "version", m.Version, "tested", want)
		}
	}
}
