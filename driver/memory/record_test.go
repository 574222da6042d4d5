package memory_test

import (
	"testing"

	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/record/recordtest"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestRecords(t *testing.T) {
	recordtest.Run(t, func(testing.TB) record.Store { return memory.NewRecords() })
}

func TestRecordsBounds(t *testing.T) {
	recordtest.Bounds(t, 500, 100_000, func(testing.TB) record.Store {
		return memory.NewRecords(memory.KeepCalls(500), memory.KeepLineBytes(100_000))
	})
}
