package sql

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

func open(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func thing(name string) store.Key { return store.Key{Resource: "things", Name: name} }

// noise is n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestDiskFull bounds the database file itself: what does not fit is refused
// with CodeDisk, what fits beside it is not, and nothing acknowledged is lost.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, Options{})
	if _, err := s.file.write.ExecContext(t.Context(), "PRAGMA max_page_count = 150"); err != nil {
		t.Fatal(err)
	}
	kept := map[store.Key]store.Record{}
	full := 0
	for i := 0; full < 5; i++ {
		k := thing(fmt.Sprint(i))
		r, err := s.Apply(t.Context(), k, noise(20_000), store.New)
		switch {
		case err == nil:
			kept[k] = r
		case api.IsCode(err, api.CodeDisk):
			full++
		default:
			t.Fatal(err)
		}
	}
	if _, err := s.file.write.ExecContext(t.Context(), "PRAGMA max_page_count = 160"); err != nil {
		t.Fatal(err) // a little space again
	}
	// Many at once: the large ones fail, the small ones among them do not.
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 40 {
		wg.Go(func() {
			k, v := thing(fmt.Sprint("many", i)), []byte("small")
			if i%2 == 0 {
				v = noise(200_000)
			}
			r, err := s.Apply(t.Context(), k, v, store.New)
			if (err == nil) != (i%2 == 1) || err != nil && !api.IsCode(err, api.CodeDisk) {
				t.Errorf("a write of %d bytes: %v", len(v), err)
			}
			if err == nil {
				mu.Lock()
				kept[k] = r
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	l, err := s.List(t.Context(), store.Query{})
	if err != nil || len(l.Records) != len(kept) {
		t.Fatalf("%d records, %v; %d were acknowledged", len(l.Records), err, len(kept))
	}
	for _, r := range l.Records {
		if w := kept[r.Key]; w.Revision != r.Revision || !bytes.Equal(w.Value, r.Value) {
			t.Fatalf("%s came back changed", r.Key)
		}
	}
	if _, err := s.Apply(t.Context(), thing("after"), noise(200_000), store.New); err != nil {
		t.Fatalf("with space again: %v", err)
	}
}

func TestSealedAtRest(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	seal, err := KeyFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	word := []byte("correct-horse-battery-staple")
	k := store.Key{Resource: api.Secrets, Namespace: "shop", Name: "password"}
	gone := store.Key{Resource: api.Secrets, Namespace: "shop", Name: "gone"}
	s := open(t, path, Options{Seal: seal})
	r, err := s.Apply(t.Context(), k, word, store.New)
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.Apply(t.Context(), gone, word, store.New)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), gone, g.Revision); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) < 2 {
		t.Fatalf("files: %v", files)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || bytes.Contains(b, word) {
			t.Fatalf("%s shows the secret (%v)", f, err)
		}
		if st, _ := os.Stat(f); st.Mode().Perm() != 0o600 {
			t.Fatalf("%s has mode %v", f, st.Mode())
		}
	}
	s.Close()

	// Without the key, or with another, secrets are an error and the rest works.
	other, err := KeyFile(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {Seal: other}} {
		s := open(t, path, o)
		if _, err := s.Get(t.Context(), k); !api.IsCode(err, api.CodeInternal) {
			t.Fatalf("Get with the wrong key: %v", err)
		}
		if _, err := s.Apply(t.Context(), thing("x"), nil, store.New); err != nil && !api.IsCode(err, api.CodeExists) {
			t.Fatal(err)
		}
		s.Close()
	}
	s = open(t, path, Options{Seal: seal})
	if got, err := s.Get(t.Context(), k); err != nil || !bytes.Equal(got.Value, word) || got.Revision != r.Revision {
		t.Fatalf("Get: %v", err)
	}
}

func TestSealRefusesDamage(t *testing.T) {
	seal, err := KeyFile(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range [][]byte{nil, []byte("x"), noise(1000)} {
		a, err := seal.Seal(plain)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := seal.Seal(plain)
		if bytes.Equal(a, b) {
			t.Fatal("the same value was sealed to the same bytes twice")
		}
		if got, err := seal.Open(a); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("Open: %v", err)
		}
		for i := range a {
			d := bytes.Clone(a)
			d[i] ^= 1
			if _, err := seal.Open(d); err == nil {
				t.Fatalf("a sealed value with byte %d changed was opened", i)
			}
			if _, err := seal.Open(a[:i]); err == nil {
				t.Fatalf("a sealed value cut to %d bytes was opened", i)
			}
		}
	}
}

// TestForgetOld holds the limit of age, with the values and the newest
// revision staying.
func TestForgetOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, Options{})
	var r store.Record
	for i := range 100 {
		var err error
		if r, err = s.Apply(t.Context(), thing("a"), fmt.Append(nil, i), r.Revision); err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.Delete(t.Context(), thing("a"), r.Revision)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	f, err := openFile(t.Context(), path, "FULL", storeSteps())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCommitter(&Store{opts: Options{}.withDefaults(), file: f})
	if err != nil {
		t.Fatal(err)
	}
	c.forgetOld(time.Now().Add(59 * time.Minute))
	if c.floor != 0 {
		t.Fatalf("floor %d before the hour is over", c.floor)
	}
	c.forgetOld(time.Now().Add(61 * time.Minute))
	var rows int
	if err := f.write.QueryRowContext(t.Context(), "SELECT count(*) FROM changes").Scan(&rows); err != nil || rows != 1 || c.floor != d.Revision-1 {
		t.Fatalf("%d rows, floor %d, %v", rows, c.floor, err)
	}
	f.close()
	s = open(t, path, Options{})
	if l, err := s.List(t.Context(), store.Query{}); err != nil || l.Revision != d.Revision || len(l.Records) != 0 {
		t.Fatalf("%+v, %v", l, err)
	}
}

// TestFileStaysSmall holds that changes, once forgotten, leave their space to
// later ones.
func TestFileStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, Options{History: 100})
	var r store.Record
	for i := range 1000 {
		var err error
		if r, err = s.Apply(t.Context(), thing("a"), fmt.Appendf(noise(10_000), "%d", i), r.Revision); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if st, err := os.Stat(path); err != nil || st.Size() > 3<<20 {
		t.Fatalf("10 MB of changes with 1 MB kept made a file of %d bytes, %v", st.Size(), err)
	}
}

func TestNewerVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, Options{})
	if _, err := s.file.write.ExecContext(t.Context(), "INSERT INTO migrations VALUES (1000, '')"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), path, Options{}); !api.IsCode(err, api.CodeUnsupported) {
		t.Fatalf("a newer file: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), filepath.Join(dir, "none", "state.db"), Options{}); !api.IsCode(err, api.CodeDisk) {
		t.Fatalf("no folder: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), text, Options{}); !api.IsCode(err, api.CodeDisk) || !strings.Contains(err.Error(), text) {
		t.Fatalf("no database: %v", err)
	}
	odd := filepath.Join(dir, "a b?c#d%20e")
	if err := os.Mkdir(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, "sqlite:"+filepath.Join(odd, "st?ate.db"), Options{})
	if _, err := s.Apply(t.Context(), thing("a"), nil, store.New); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(odd, "st?ate.db")); err != nil {
		t.Fatal(err)
	}
}

// TestPair holds that go.mod has the libc which this version of sqlite was
// translated against.
func TestPair(t *testing.T) {
	type module struct{ Path, Version, GoMod string }
	find := func(path string) (m module) {
		out, err := exec.Command("go", "list", "-m", "-json", path).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if err := json.Unmarshal(out, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	lite, libc := find("modernc.org/sqlite"), find("modernc.org/libc")
	mod, err := os.ReadFile(lite.GoMod)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`modernc\.org/libc (v\S+)`).FindSubmatch(mod)
	if want == nil || lite.Version != sqliteVersion || libc.Version != libcVersion || libc.Version != string(want[1]) {
		t.Fatalf("sqlite %s with libc %s; it wants %s, and this package names %s and %s", lite.Version, libc.Version, want, sqliteVersion, libcVersion)
	}
	var log bytes.Buffer
	checkPair(slog.New(slog.NewTextHandler(&log, nil)))
	if log.Len() > 0 {
		t.Fatal(log.String())
	}
}

// BenchmarkApply prints durable writes per second of 200-byte values.
func BenchmarkApply(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "state.db"), Options{})
			jobs := make(chan int)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					var r store.Record
					for n := range jobs {
						var err error
						r, err = s.Apply(context.Background(), thing(fmt.Sprint(w)), fmt.Appendf(make([]byte, 190), "%010d", n), r.Revision)
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			b.ResetTimer()
			for n := range b.N {
				jobs <- n
			}
			close(jobs)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "applies/s")
		})
	}
}

// TestDurableSettings holds what the promise of durability rests on.
func TestDurableSettings(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"), Options{})
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := s.file.write.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, want %s (%v)", pragma, got, want, err)
		}
	}
}
