package sql_test

import (
	"path/filepath"
	"testing"

	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/core/store/storetest"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/driver/sql"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if child() || diskChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// openIn opens the store in dir, sealed.
func openIn(t testing.TB, dir string, opts sql.Options) *sql.Store {
	t.Helper()
	if opts.Seal == nil {
		seal, err := sql.KeyFile(filepath.Join(dir, "key"))
		if err != nil {
			t.Fatal(err)
		}
		opts.Seal = seal
	}
	s, err := sql.Open(t.Context(), filepath.Join(dir, "state.db"), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return openIn(t, t.TempDir(), sql.Options{}) })
}

func TestStoreEqualsMemory(t *testing.T) {
	storetest.Compare(t, func(testing.TB) store.Store { return memory.NewStore() },
		func(t testing.TB) store.Store { return openIn(t, t.TempDir(), sql.Options{}) })
}

func TestStoreHistory(t *testing.T) {
	storetest.History(t, 10, func(t testing.TB) store.Store { return openIn(t, t.TempDir(), sql.Options{History: 10}) })
}

func TestStoreDurable(t *testing.T) {
	storetest.Durable(t, func(t testing.TB, dir string) store.Store { return openIn(t, dir, sql.Options{}) })
}
