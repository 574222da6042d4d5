package sql_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/sql"
)

const crashDir = "HEARTH_TEST_CRASH_DIR"

// child runs the writing half of TestCrash when this process is it.
func child() bool {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return false
	}
	seal, err := sql.KeyFile(dir + "/key")
	if err == nil {
		var s *sql.Store
		// Little history, so that forgetting is interrupted too.
		if s, err = sql.Open(context.Background(), dir+"/state.db", sql.Options{Seal: seal, History: 50}); err == nil {
			err = crashWriters(s)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
	return true
}

// crashWriters makes, changes and removes records until it is killed. Each
// writer has records of its own and says what it got an answer for:
// "revision name value", or "revision name" for a removal. "? name" announces a
// removal, so that one whose answer the kill swallowed is told from a loss.
func crashWriters(s *sql.Store) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		os.Stdout.WriteString(line + "\n") // one write: it arrives whole or not at all
	}
	for i := range 16 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))
			for n := 0; ; n++ {
				k := crashKey(fmt.Sprintf("w%d-%d", i, rnd.IntN(8)))
				old, _ := s.Get(context.Background(), k)
				if old.Revision != 0 && rnd.IntN(6) == 0 {
					say("? " + k.Name)
					d, err := s.Delete(context.Background(), k, old.Revision)
					if err != nil {
						failed = err
						return
					}
					say(fmt.Sprintf("%d %s", d.Revision, k.Name))
					continue
				}
				value := strconv.FormatUint(rnd.Uint64(), 36) + strings.Repeat("x", rnd.IntN(3000))
				r, err := s.Apply(context.Background(), k, []byte(value), old.Revision)
				if err != nil {
					failed = err
					return
				}
				say(fmt.Sprintf("%d %s %s", r.Revision, k.Name, value))
			}
		})
	}
	wg.Wait()
	return failed
}

// crashKey puts every second writer's records among the secrets.
func crashKey(name string) store.Key {
	if strings.HasPrefix(name, "w1") {
		return store.Key{Resource: "secrets", Name: name}
	}
	return store.Key{Resource: "things", Name: name}
}

// TestCrash kills a writing process at random moments, many times on the same
// file, and finds every write that was acknowledged.
func TestCrash(t *testing.T) {
	const rounds = 24
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	type ack struct {
		revision int64
		value    string
		removed  bool
	}
	acked := map[string]ack{}      // newest of each record
	announced := map[string]bool{} // removals without an answer so far
	total, newest := 0, int64(0)
	for round := range rounds {
		var stderr bytes.Buffer
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var kill *time.Timer
		n := 0
		for lines := bufio.NewReader(out); ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				break // a line without its end was no acknowledgement
			}
			if kill == nil { // from the first write on
				kill = time.AfterFunc(time.Duration(rand.IntN(200))*time.Millisecond, func() { cmd.Process.Kill() })
			}
			f := strings.Fields(line)
			if f[0] == "?" {
				announced[f[1]] = true
				continue
			}
			delete(announced, f[1])
			rev, err := strconv.ParseInt(f[0], 10, 64)
			if err != nil {
				t.Fatalf("round %d: %q", round, line)
			}
			a := ack{revision: rev, removed: len(f) == 2}
			if !a.removed {
				a.value = f[2]
			}
			if rev > acked[f[1]].revision { // lines of two writers may cross, those of one record not
				acked[f[1]] = a
			}
			newest = max(newest, rev)
		}
		cmd.Wait()
		if n == 0 || cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("round %d: the writer ended by itself after %d writes: %v\n%s", round, n, cmd.ProcessState, &stderr)
		}
		total += n

		s := openIn(t, dir, sql.Options{History: 50})
		l, err := s.List(t.Context(), store.Query{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Revision < newest {
			t.Fatalf("round %d: the store is at revision %d, %d was acknowledged", round, l.Revision, newest)
		}
		for name, a := range acked {
			// Each writer may have had one write more, without its answer.
			r, err := s.Get(t.Context(), crashKey(name))
			switch {
			case r.Revision > a.revision && r.Revision <= l.Revision, a.removed && err != nil:
			case err != nil && announced[name]:
			case err != nil:
				t.Fatalf("round %d: %s of revision %d was acknowledged; now: %v", round, name, a.revision, err)
			case r.Revision != a.revision || string(r.Value) != a.value:
				t.Fatalf("round %d: %s of revision %d was acknowledged; now it has revision %d", round, name, a.revision, r.Revision)
			}
			// What is there now counts as acknowledged: it was read.
			if err == nil {
				acked[name] = ack{revision: r.Revision, value: string(r.Value)}
			} else {
				acked[name] = ack{revision: l.Revision, removed: true}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		clear(announced)
	}
	t.Logf("%d acknowledged writes in %d rounds, %d records", total, rounds, len(acked))
}
