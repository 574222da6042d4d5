package memory_test

import (
	"testing"

	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/blob/blobtest"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestBlobs(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blob.Store { return memory.NewBlobs() })
}
