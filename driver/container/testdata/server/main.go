// Command server is what the tests put into images: a program that serves, or
// fails to, in many ways.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	args := append(os.Args[1:], "", "", "")
	switch args[0] {
	case "", "serve":
		serve(os.Getenv("PORT"), echo)
	case "crash": // in every call
		serve(os.Getenv("PORT"), func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	case "slow":
		time.Sleep(2500 * time.Millisecond)
		serve(os.Getenv("PORT"), echo)
	case "at": // a port of its own
		serve(args[1], echo)
	case "exit":
		for i := range 30 {
			fmt.Println("line", i)
		}
		fmt.Fprintln(os.Stderr, args[2])
		code := 0
		fmt.Sscan(args[1], &code)
		os.Exit(code)
	case "write":
		if err := os.WriteFile(args[1], []byte(args[2]), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "exists":
		if _, err := os.Stat(args[1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "eat": // memory
		for keep := [][]byte{}; ; keep = append(keep, eat()) {
		}
	case "late": // needs time to stop
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		s := <-stop
		time.Sleep(200 * time.Millisecond)
		fmt.Printf("asked to stop by %s, and did\n", s)
	case "ignore": // the signal to stop
		signal.Ignore(syscall.SIGTERM)
		serve(os.Getenv("PORT"), echo)
	case "deaf": // no handler for it at all
		time.Sleep(time.Hour)
	}
}

func eat() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func serve(port string, h http.HandlerFunc) {
	stop := make(chan os.Signal, 1)
	if len(os.Args) < 2 || os.Args[1] != "ignore" {
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGUSR1)
		go func() {
			s := <-stop
			fmt.Println("asked to stop by", s)
			os.Exit(0)
		}()
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Addr: ":" + port, Handler: h, Protocols: &p}
	fmt.Fprintln(os.Stderr, s.ListenAndServe())
	os.Exit(1)
}

var sick atomic.Bool

func echo(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	fail := func(err error) {
		if err != nil {
			fmt.Fprint(w, err)
		}
	}
	switch {
	case r.URL.Path == "/health":
		if sick.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, "healthy ", r.Host, " ", r.Header.Get("X-Probe"))
	case r.URL.Path == "/sick":
		sick.Store(true)
	case r.URL.Path == "/well":
		sick.Store(false)
	case r.URL.Path == "/grpc.health.v1.Health/Check":
		health(w, r)
	case q.Has("env"):
		fmt.Fprint(w, os.Getenv(q.Get("env")))
	case q.Has("args"):
		dir, _ := os.Getwd()
		fmt.Fprintf(w, "%q in %s as %d:%d", os.Args, dir, os.Getuid(), os.Getgid())
	case q.Has("read"):
		b, err := os.ReadFile(q.Get("read"))
		w.Write(b)
		fail(err)
	case q.Has("stat"):
		st, err := os.Stat(q.Get("stat"))
		if err == nil {
			fmt.Fprint(w, st.Mode())
		}
		fail(err)
	case q.Has("write"):
		fail(os.WriteFile(q.Get("write"), []byte("x"), 0o644))
	case q.Has("list"):
		list, err := os.ReadDir(q.Get("list"))
		for _, e := range list {
			fmt.Fprint(w, e.Name(), " ")
		}
		fail(err)
	case q.Has("fill"):
		fail(os.WriteFile(q.Get("fill"), make([]byte, 4<<20), 0o644))
	case q.Has("print"):
		fmt.Println(q.Get("print"))
	case q.Has("eat"):
		for keep := [][]byte{}; ; keep = append(keep, eat()) {
		}
	case q.Has("dial"):
		c, err := net.DialTimeout("tcp", q.Get("dial"), time.Second)
		if err == nil {
			fmt.Fprint(w, "connected")
			c.Close()
		}
		fail(err)
	default:
		b, _ := io.ReadAll(r.Body) // all of it first: HTTP/1.1 of Go is not full duplex
		w.Write(b)
	}
}

// health answers as gRPC servers do: SERVING, but for the service "ill".
func health(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	status := byte(1)
	if strings.HasSuffix(string(b), "ill") {
		status = 2
	}
	w.Write([]byte{0, 0, 0, 0, 2, 8, status})
	w.Header().Set("Grpc-Status", "0")
}
