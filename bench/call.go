package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hearth-run/hearth/core/record"
)

// conn is a kept-alive connection to the gateway.
type conn struct {
	net.Conn
	buf [4096]byte
}

func dial(port string) (*conn, error) {
	nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	return &conn{Conn: nc}, nil
}

// call sends a request to a function and returns how long the first byte of its
// answer took; the whole answer has been read then.
func (c *conn) call(function, id string) (time.Duration, error) {
	request := []byte("GET / HTTP/1.1\r\nHost: " + function + ".localhost\r\nX-Request-Id: " + id + "\r\n\r\n")
	begin := time.Now()
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	n, err := c.Read(c.buf[:])
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	r, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(c.buf[:n]), c.Conn)), nil)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err
	}
	if r.StatusCode != 200 || string(body) != "x" {
		return 0, fmt.Errorf("%s answered %s: %s", function, r.Status, body)
	}
	return took, nil
}

// coldCalls returns the ids of calls since then that waited for an instance to
// start, once hearth has written all n down.
func (s *server) coldCalls(since time.Time, n int) (map[string]bool, error) {
	for range 100 {
		calls, err := s.client.Calls(s.b.ctx, record.Query{Since: since, Limit: 2 * n})
		if err != nil {
			return nil, err
		}
		if len(calls) < n {
			if err := s.b.pause(50 * time.Millisecond); err != nil {
				return nil, err
			}
			continue
		}
		cold := map[string]bool{}
		for _, c := range calls {
			if c.Cold {
				cold[c.Request] = true
			}
		}
		return cold, nil
	}
	return nil, fmt.Errorf("hearth recorded fewer than %d calls", n)
}
