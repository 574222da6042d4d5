package container

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/core/engine"
)

// userAgent is what probes call themselves.
const userAgent = "hearth-probe/1"

// http asks for a page; redirects are good answers and not followed.
func (p *prober) http(ctx context.Context, q *engine.HTTPProbe) error {
	t := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the program's own certificate, as kubelets see it
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, q.Port) },
	}
	u := address(q.Path, q.Port)
	if q.TLS {
		u.Scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept", "*/*")
	if q.Host != "" {
		r.Host = q.Host
	}
	for _, h := range q.Header {
		if http.CanonicalHeaderKey(h[0]) == "Host" {
			r.Host = h[1]
			continue
		}
		r.Header.Add(h[0], h[1])
	}
	a, err := t.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("%s: %w", p.what(), plain(err))
	}
	defer a.Body.Close()
	io.CopyN(io.Discard, a.Body, 10<<10)
	if a.StatusCode < 200 || a.StatusCode >= 400 {
		return fmt.Errorf("%s: status %d", p.what(), a.StatusCode)
	}
	return nil
}

// address is where a path of a probe leads to; it may have a query.
func address(path string, port int) *url.URL {
	u, err := url.Parse(path)
	if err != nil {
		u = &url.URL{Path: path} // as it was meant
	}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path, u.RawPath = "/"+u.Path, ""
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
}

// grpc calls grpc.health.v1.Health/Check. The two messages are small enough to
// be written and read by hand.
func (p *prober) grpc(ctx context.Context, q *engine.GRPCProbe) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	t := &http.Transport{
		DisableCompression: true, Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, q.Port) },
	}
	defer t.CloseIdleConnections()
	u := fmt.Sprintf("http://127.0.0.1:%d/grpc.health.v1.Health/Check", q.Port)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(healthRequest(q.Service)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	r.Header.Set("User-Agent", userAgent)
	a, err := t.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("%s: %w", p.what(), plain(err))
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("%s: %w", p.what(), plain(err))
	}
	status := a.Trailer.Get("Grpc-Status")
	if status == "" {
		status = a.Header.Get("Grpc-Status") // an answer of trailers alone
	}
	switch {
	case a.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: status %d", p.what(), a.StatusCode)
	case status == "12":
		return fmt.Errorf("%s: the server has no service grpc.health.v1.Health", p.what())
	case status == "5":
		return fmt.Errorf("%s: the server knows no service %q", p.what(), q.Service)
	case status != "0":
		return fmt.Errorf("%s: grpc status %s", p.what(), status)
	}
	serving, err := healthAnswer(body)
	if err != nil {
		return fmt.Errorf("%s: %w", p.what(), err)
	}
	if serving != 1 {
		names := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
		name := strconv.FormatUint(serving, 10)
		if serving < uint64(len(names)) {
			name = names[serving]
		}
		return fmt.Errorf("%s: %s", p.what(), name)
	}
	return nil
}

// healthRequest is a framed HealthCheckRequest{service = 1}.
func healthRequest(service string) []byte {
	var msg []byte
	if service != "" {
		msg = append(msg, 1<<3|2)
		msg = binary.AppendUvarint(msg, uint64(len(service)))
		msg = append(msg, service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...)
}

var errHealth = errors.New("the answer is no HealthCheckResponse")

// healthAnswer reads status = 1 of a framed HealthCheckResponse; other fields
// are passed over.
func healthAnswer(b []byte) (status uint64, err error) {
	if len(b) < 5 || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:5])) != uint64(len(b)-5) {
		return 0, errHealth
	}
	for b = b[5:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, errHealth
		}
		b = b[n:]
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, errHealth
			}
			b = b[n:]
			if tag>>3 == 1 {
				status = v
			}
		case 2:
			v, n := binary.Uvarint(b)
			if n <= 0 || v > uint64(len(b)-n) {
				return 0, errHealth
			}
			b = b[n+int(v):]
		case 1, 5:
			size := 8
			if tag&7 == 5 {
				size = 4
			}
			if len(b) < size {
				return 0, errHealth
			}
			b = b[size:]
		default:
			return 0, errHealth
		}
	}
	return status, nil
}
