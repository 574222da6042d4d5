//go:build linux

package sandbox

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if Main(os.Args) {
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "inside" {
		os.Exit(inside(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}
