package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
)

// echoes opens sockets to a place and counts how often per second a message
// comes back while all of them are busy.
func (b *bench) echoes(p place, sockets int, length time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	open := make([]net.Conn, sockets)
	for i := range open {
		nc, err := dialSocket(ctx, p)
		if err != nil {
			return 0, err
		}
		defer nc.Close()
		open[i] = nc
	}
	// One masked text frame of 16 bytes, and what comes back for it.
	frame := append([]byte{0x81, 0x90, 0, 0, 0, 0}, "sixteen bytes, x"...)
	var count atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	begin := time.Now()
	for _, nc := range open {
		wg.Go(func() {
			nc.SetDeadline(end.Add(5 * time.Second))
			answer := make([]byte, 18)
			for time.Now().Before(end) {
				if _, err := nc.Write(frame); err != nil {
					cancel(err)
					return
				}
				if _, err := io.ReadFull(nc, answer); err != nil {
					cancel(err)
					return
				}
				if answer[0] != 0x81 || string(answer[2:]) != "sixteen bytes, x" {
					cancel(fmt.Errorf("%q came back", answer))
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return float64(count.Load()) / time.Since(begin).Seconds(), nil
}

// silent compares what sockets cost that are open and say nothing. A hearth that
// has just begun holds no garbage that would hide it.
func (b *bench) silent(program string, nginx place, workers []int) error {
	const sockets = 1500 // nginx counts two connections for each, of 4096
	s, err := b.start("silent-state")
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.program("websocket", filepath.Dir(program), api.ProtocolHTTP, "./peer", "websocket"); err != nil {
		return err
	}
	open := func(p place, held func(time.Duration) (int64, error)) (each float64, err error) {
		before, err := held(10 * time.Second)
		if err != nil {
			return 0, err
		}
		for range sockets {
			nc, err := dialSocket(b.ctx, p)
			if err != nil {
				return 0, err
			}
			defer nc.Close()
		}
		after, err := held(150 * time.Second) // as for idle functions: the garbage of opening them goes late
		return float64(after-before) / sockets, err
	}
	h, err := open(place{"hearth", s.port, "websocket.localhost"}, s.settled)
	if err != nil {
		return err
	}
	n, err := open(nginx, func(time.Duration) (sum int64, err error) {
		for _, pid := range workers {
			kib, err := resident(pid)
			if err != nil {
				return 0, err
			}
			sum += kib
		}
		return sum, nil
	})
	if err != nil {
		return err
	}
	b.report.add(row{
		what: fmt.Sprintf("memory per WebSocket, %d open and silent", sockets), hearth: fmt.Sprintf("%.1f KiB", h), peer: fmt.Sprintf("nginx %.1f KiB", n), ratio: fmt.Sprintf("%.2f", h/n),
	})
	b.report.remark("Memory per WebSocket: what the resident memory of hearth, or of nginx's workers, grows by; hearth's heap may have had room for some.")
	return nil
}

// resident is a process's resident memory in KiB.
func resident(pid int) (int64, error) {
	f := strings.Fields(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"))
	if len(f) != 2 {
		return 0, fmt.Errorf("cannot read the memory of process %d", pid)
	}
	return strconv.ParseInt(f[0], 10, 64)
}

func dialSocket(ctx context.Context, p place) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+p.port)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", p.host)
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	// The server is silent until it is spoken to: nothing is left in the buffer.
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		nc.Close()
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		nc.Close()
		return nil, fmt.Errorf("the upgrade was answered with %s", res.Status)
	}
	return nc, nil
}
