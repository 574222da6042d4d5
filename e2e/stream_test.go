package e2e

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

const streamProgram = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
)

func main() {
	http.HandleFunc("/sink", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Proto, " ", n, " ", err)
	})
	http.HandleFunc("/source", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		for b := make([]byte, 64<<10); n > 0; n -= len(b) {
			if _, err := w.Write(b[:min(len(b), n)]); err != nil {
				return
			}
		}
	})
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	panic((&http.Server{Addr: ":" + os.Getenv("PORT"), Protocols: p}).ListenAndServe())
}
`

// TestGigabyte streams 1 GiB to and from a container over both versions of HTTP;
// hearth's own memory stays flat.
func TestGigabyte(t *testing.T) {
	const n = 1 << 30
	s := up(t)
	image := s.image(t, "stream:1", streamProgram)
	for _, protocol := range []string{"http", "h2c"} {
		s.deploy(protocol, "source: {image: \""+image+"\"}\nport: {protocol: "+protocol+"}\nbodyLimit: 2Gi\ntimeout: 2m\n")
		s.must(protocol, "/source?n=1")
		t.Run(protocol, func(t *testing.T) {
			s := s.in(t)
			proto := map[string]string{"http": "HTTP/1.1", "h2c": "HTTP/2.0"}[protocol]
			s.flat(64<<20, func() {
				r, _ := http.NewRequest("POST", "http://"+s.gateway+"/sink", io.LimitReader(zeros{}, n))
				r.Host = protocol + ".localhost"
				if a := ask(s.web(), r); a.body != fmt.Sprint(proto, " ", n, " <nil>") {
					t.Errorf("the upload: %s", a)
				}
				r, _ = http.NewRequest("GET", fmt.Sprintf("http://%s/source?n=%d", s.gateway, n), nil)
				r.Host = protocol + ".localhost"
				res, err := s.web().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if got, err := io.Copy(io.Discard, res.Body); got != n || err != nil {
					t.Errorf("the download gave %d: %v", got, err)
				}
			})
		})
	}
}
