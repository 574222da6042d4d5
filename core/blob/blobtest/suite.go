// Package blobtest holds the conformance suite of core/blob: every sentence of
// the contract as a test.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"pgregory.net/rapid"
)

// Run checks that what open returns keeps the contract. open must return a new,
// empty store.
func Run(t *testing.T, open func(t testing.TB) blob.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, blob.Store)
	}{
		{"PutOpen", testPutOpen},
		{"PutTwice", testPutTwice},
		{"PutFails", testPutFails},
		{"PutCanceled", testPutCanceled},
		{"NotFound", testNotFound},
		{"Delete", testDelete},
		{"DeleteWhileRead", testDeleteWhileRead},
		{"All", testAll},
		{"Concurrent", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
	t.Run("Model", func(t *testing.T) { testModel(t, open) })
}

// digest is the digest of content.
func digest(content []byte) blob.Digest {
	h := sha256.New()
	h.Write(content)
	return blob.DigestOf(h)
}

func put(t testing.TB, s blob.Store, content []byte) blob.Info {
	t.Helper()
	i, err := s.Put(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if want := (blob.Info{Digest: digest(content), Size: int64(len(content))}); i != want {
		t.Fatalf("Put = %+v, want %+v", i, want)
	}
	return i
}

// read returns the whole content of d.
func read(s blob.Store, d blob.Digest) ([]byte, blob.Info, error) {
	r, info, err := s.Open(context.Background(), d)
	if err != nil {
		return nil, info, err
	}
	b, err := io.ReadAll(r)
	return b, info, errors.Join(err, r.Close())
}

func want(t testing.TB, s blob.Store, content []byte) {
	t.Helper()
	d := digest(content)
	b, info, err := read(s, d)
	if err != nil || !bytes.Equal(b, content) || info != (blob.Info{Digest: d, Size: int64(len(content))}) {
		t.Fatalf("Open(%s) gave %d bytes of %d, %+v, %v", d, len(b), len(content), info, err)
	}
}

// all returns what All yields.
func all(t testing.TB, s blob.Store) map[blob.Digest]int64 {
	t.Helper()
	m := map[blob.Digest]int64{}
	for i, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := m[i.Digest]; twice {
			t.Fatalf("All yields %s twice", i.Digest)
		}
		m[i.Digest] = i.Size
	}
	return m
}

func testPutOpen(t *testing.T, s blob.Store) {
	big := make([]byte, 1<<18+17)
	rand.NewChaCha8([32]byte{1}).Read(big)
	for _, content := range [][]byte{nil, {0}, []byte("hearth"), big} {
		put(t, s, content)
		want(t, s, content)
		// Any way of reading brings the same, and sizes of reads do not matter.
		r, _, err := s.Open(t.Context(), digest(content))
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(struct{ io.Reader }{r}, content); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if d := put(t, s, []byte("abc")).Digest; d != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Fatalf("digest of abc: %s", d)
	}
}

func testPutTwice(t *testing.T, s blob.Store) {
	content := []byte("twice")
	put(t, s, content)
	put(t, s, content)
	want(t, s, content)
	if n := len(all(t, s)); n != 1 {
		t.Fatalf("%d blobs, want 1", n)
	}
}

func testPutFails(t *testing.T, s blob.Store) {
	broken := errors.New("broken")
	_, err := s.Put(t.Context(), io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Fatalf("Put of a reader that fails: %v", err)
	}
	if n := len(all(t, s)); n != 0 {
		t.Fatalf("a failed Put left %d blobs", n)
	}
	if _, _, err := read(s, digest([]byte("half"))); !api.IsCode(err, api.CodeNotFound) {
		t.Fatalf("half of a failed Put can be read: %v", err)
	}
}

func testPutCanceled(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	endless := readerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	if _, err := s.Put(ctx, endless); !errors.Is(err, context.Canceled) {
		t.Fatalf("Put with an ended context: %v", err)
	}
	if n := len(all(t, s)); n != 0 {
		t.Fatalf("a canceled Put left %d blobs", n)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func testNotFound(t *testing.T, s blob.Store) {
	content := []byte("x")
	d := put(t, s, content).Digest
	hex, ok := d.Hex()
	if !ok {
		t.Fatalf("%s is malformed", d)
	}
	for _, d := range []blob.Digest{
		digest([]byte("y")), "", "sha256:", "sha256:..", "../../etc/passwd", "sha256:../" + d[10:], blob.Digest(hex), "md5:" + blob.Digest(hex),
		"sha256:" + blob.Digest(strings.ToUpper(hex)), d + "0", d[:len(d)-1],
	} {
		if _, _, err := read(s, d); !api.IsCode(err, api.CodeNotFound) {
			t.Errorf("Open(%q): %v, want code %s", d, err, api.CodeNotFound)
		}
		if err := s.Delete(t.Context(), d); err != nil {
			t.Errorf("Delete(%q): %v", d, err)
		}
	}
	want(t, s, content)
}

func testDelete(t *testing.T, s blob.Store) {
	a, b := []byte("a"), []byte("b")
	put(t, s, a)
	put(t, s, b)
	for range 2 {
		if err := s.Delete(t.Context(), digest(a)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := read(s, digest(a)); !api.IsCode(err, api.CodeNotFound) {
		t.Fatalf("Open after Delete: %v", err)
	}
	want(t, s, b)
	put(t, s, a)
	want(t, s, a)
}

func testDeleteWhileRead(t *testing.T, s blob.Store) {
	content := bytes.Repeat([]byte("hearth"), 100_000)
	d := put(t, s, content).Digest
	r, _, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 10)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(head, rest...), content) {
		t.Fatalf("%d bytes, %v", len(head)+len(rest), err)
	}
}

func testAll(t *testing.T, s blob.Store) {
	if n := len(all(t, s)); n != 0 {
		t.Fatalf("an empty store yields %d", n)
	}
	for i := range 20 {
		put(t, s, bytes.Repeat([]byte("x"), i))
	}
	got := all(t, s)
	for i := range 20 {
		if size, ok := got[digest(bytes.Repeat([]byte("x"), i))]; !ok || size != int64(i) {
			t.Fatalf("blob %d: %d, %t", i, size, ok)
		}
	}
	if len(got) != 20 {
		t.Fatalf("%d blobs, want 20", len(got))
	}
	for range s.All(t.Context()) {
		break // a consumer may stop
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.All(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("All with an ended context: %v", err)
		}
	}
}

func testConcurrent(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 10 {
				content := bytes.Repeat(fmt.Appendf(nil, "%d", n), 20_000)
				i1, err := s.Put(context.Background(), bytes.NewReader(content))
				if err != nil {
					t.Error(err)
					return
				}
				// Everyone else puts it too, so that it is there at every moment.
				b, _, err := read(s, i1.Digest)
				if err != nil || !bytes.Equal(b, content) {
					t.Errorf("writer %d: %d bytes, %v", i, len(b), err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(all(t, s)); n != 10 {
		t.Fatalf("%d blobs, want 10", n)
	}
}

// testModel compares random operations with a map.
func testModel(t *testing.T, open func(t testing.TB) blob.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		model := map[blob.Digest][]byte{}
		content := rapid.SliceOfN(rapid.SampledFrom([]byte("ab")), 0, 2)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				c := content.Draw(rt, "content")
				model[put(t, s, c).Digest] = c
			},
			"delete": func(rt *rapid.T) {
				d := digest(content.Draw(rt, "content"))
				if err := s.Delete(t.Context(), d); err != nil {
					rt.Fatal(err)
				}
				delete(model, d)
			},
			"open": func(rt *rapid.T) {
				d := digest(content.Draw(rt, "content"))
				b, _, err := read(s, d)
				c, ok := model[d]
				if ok && (err != nil || !bytes.Equal(b, c)) || !ok && !api.IsCode(err, api.CodeNotFound) {
					rt.Fatalf("Open(%s) = %q, %v; want %q, %t", d, b, err, c, ok)
				}
			},
			"": func(rt *rapid.T) {
				if n := len(all(t, s)); n != len(model) {
					rt.Fatalf("%d blobs, want %d", n, len(model))
				}
			},
		})
	})
}
