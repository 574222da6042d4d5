package sandbox

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if Main(os.Args) {
		return
	}
	if inside(os.Args) {
		return
	}
	os.Exit(m.Run())
}
