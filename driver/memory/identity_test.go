package memory_test

import (
	"testing"

	"github.com/hearth-run/hearth/core/identity/identitytest"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestIdentity(t *testing.T) {
	identitytest.Run(t, func(testing.TB) identitytest.Driver { return memory.NewIdentity() })
}
