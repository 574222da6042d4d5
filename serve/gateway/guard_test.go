package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

// FuzzGuard holds the guard's framing against net/http's: whatever pieces the
// bytes come in, it finds the same, and while every request is well-formed it
// sees a second length exactly where a head has both.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 5)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\nContent-Length: 3\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 1)
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 3)
	f.Fuzz(func(t *testing.T, p []byte, step int) {
		scan := func(step int) bool {
			g := &guard{}
			for q := p; len(q) > 0; {
				n := min(len(q), step)
				g.scan(q[:n])
				q = q[n:]
			}
			return g.twice.Load()
		}
		got := scan(len(p) + 1)
		if step > 0 && step < 1000 && scan(step) != got {
			t.Fatalf("in steps of %d it finds %v, at once %v", step, !got, got)
		}
		in := bytes.NewReader(p)
		br := bufio.NewReader(in)
		for {
			from := len(p) - in.Len() - br.Buffered()
			r, err := http.ReadRequest(br)
			if err != nil {
				return // net/http refuses it and closes
			}
			head := p[from : len(p)-in.Len()-br.Buffered()]
			if bytes.HasPrefix(head, []byte("PRI ")) {
				return
			}
			if both := header(head, "content-length") && header(head, "transfer-encoding"); both {
				if !got {
					t.Fatalf("both lengths in %q were not seen", head)
				}
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			if in.Len()+br.Buffered() == 0 && got {
				t.Fatal("two lengths were seen where there are none")
			}
		}
	})
}

// header reports whether a head has a line of that name.
func header(head []byte, name string) bool {
	for i, l := range bytes.Split(head, []byte("\n")) {
		n, _, ok := bytes.Cut(l, []byte(":"))
		if i > 0 && ok && bytes.EqualFold(n, []byte(name)) {
			return true
		}
	}
	return false
}

// Every turn of a weighted target comes exactly as often as its weight says.
func TestStride(t *testing.T) {
	for n := uint64(1); n < 2000; n++ {
		s, seen := stride(n), make([]bool, n)
		for k := range n {
			turn := k % n * s % n
			if seen[turn] {
				t.Fatalf("of %d turns, %d comes twice with a stride of %d", n, turn, s)
			}
			seen[turn] = true
		}
	}
}
