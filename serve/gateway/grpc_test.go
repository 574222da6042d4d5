package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

type text = wrapperspb.StringValue

// echo is a gRPC service with all four kinds of call, without generated code.
type echo struct {
	canceled chan string
}

func (e *echo) unary(ctx context.Context, in *text) (*text, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	deadline, has := ctx.Deadline()
	switch {
	case in.Value == "fail":
		return nil, status.Error(codes.FailedPrecondition, "größer als 100 %")
	case in.Value == "deadline":
		return wrapperspb.String(fmt.Sprint(has, time.Until(deadline) < time.Minute)), nil
	case in.Value == "wait":
		<-ctx.Done()
		e.canceled <- "unary"
		return nil, ctx.Err()
	}
	grpc.SetHeader(ctx, metadata.Pairs("x-head", "h", "data-bin", string([]byte{0, 1, 255})))
	grpc.SetTrailer(ctx, metadata.Pairs("x-trail", "t"))
	return wrapperspb.String(in.Value + " " + strings.Join(md.Get("x-user"), ",") + " " + strings.Join(md.Get(":authority"), "")), nil
}

func (e *echo) stream(kind string) grpc.StreamHandler {
	return func(_ any, s grpc.ServerStream) error {
		s.SetTrailer(metadata.Pairs("kind", kind))
		switch kind {
		case "server":
			in := new(text)
			if err := s.RecvMsg(in); err != nil {
				return err
			}
			if in.Value == "head first" {
				if err := s.SendHeader(metadata.Pairs("x-head", "early")); err != nil {
					return err
				}
				<-s.Context().Done()
				e.canceled <- "server"
				return s.Context().Err()
			}
			for i := range 100 {
				if err := s.SendMsg(wrapperspb.String(fmt.Sprint(in.Value, i))); err != nil {
					return err
				}
			}
			return nil
		case "client":
			n := 0
			for {
				in := new(text)
				if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
					return s.SendMsg(wrapperspb.String(fmt.Sprint(n)))
				} else if err != nil {
					e.canceled <- "client"
					return err
				}
				n += len(in.Value)
			}
		}
		for {
			in := new(text)
			if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				e.canceled <- "bidi"
				return err
			}
			if in.Value == "abort" {
				return status.Error(codes.Aborted, "enough")
			}
			if err := s.SendMsg(in); err != nil {
				return err
			}
		}
	}
}

// grpcPeer is an instance that speaks h2c: a real gRPC server.
func grpcPeer(t *testing.T) (*instance, *echo) {
	t.Helper()
	e := &echo{canceled: make(chan string, 10)}
	in := &instance{id: fmt.Sprintf("i%d", ids.Add(1)), protocol: api.ProtocolH2C, socket: filepath.Join(t.TempDir(), "s"), done: make(chan struct{})}
	l, err := net.Listen("unix", in.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	desc := &grpc.ServiceDesc{ServiceName: "echo.Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Unary",
		Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(text)
			if err := dec(in); err != nil {
				return nil, err
			}
			return e.unary(ctx, in)
		},
	}}}
	for _, k := range []string{"server", "client", "bidi"} {
		desc.Streams = append(desc.Streams, grpc.StreamDesc{StreamName: k, Handler: e.stream(k), ServerStreams: k != "client", ClientStreams: k != "server"})
	}
	s.RegisterService(desc, struct{}{})
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(l) }()
	var once sync.Once
	in.stop = func() { once.Do(func() { s.Stop(); <-ended; close(in.done) }) }
	t.Cleanup(in.stop)
	return in, e
}

func (w *world) grpc(t *testing.T, host string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func open(t *testing.T, ctx context.Context, cc *grpc.ClientConn, kind string) grpc.ClientStream {
	t.Helper()
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/echo.Echo/"+kind)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wait(t *testing.T, c chan string, want string) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Errorf("%s was cancelled, want %s", got, want)
		}
	case <-time.After(patience):
		t.Errorf("the server never heard that %s was cancelled", want)
	}
}

func TestGRPC(t *testing.T) {
	w := newWorld(t)
	in, e := grpcPeer(t)
	w.function("f", api.RevisionSpec{Concurrency: 100}, always(in))
	cc := w.grpc(t, "f.localhost")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	t.Run("unary", func(t *testing.T) {
		out := new(text)
		var head, trail metadata.MD
		md := metadata.AppendToOutgoingContext(ctx, "x-user", "a", "x-user", "b")
		if err := cc.Invoke(md, "/echo.Echo/Unary", wrapperspb.String("hi"), out, grpc.Header(&head), grpc.Trailer(&trail)); err != nil {
			t.Fatal(err)
		}
		if out.Value != "hi a,b f.localhost" || head.Get("x-head")[0] != "h" || head.Get("data-bin")[0] != "\x00\x01\xff" || trail.Get("x-trail")[0] != "t" {
			t.Errorf("%q, header %v, trailer %v", out.Value, head, trail)
		}
	})
	t.Run("trailers only", func(t *testing.T) {
		err := cc.Invoke(ctx, "/echo.Echo/Unary", wrapperspb.String("fail"), new(text))
		if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "größer als 100 %" {
			t.Error(err)
		}
		if err := cc.Invoke(ctx, "/echo.Echo/None", wrapperspb.String(""), new(text)); status.Code(err) != codes.Unimplemented {
			t.Error(err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		out := new(text)
		short, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := cc.Invoke(short, "/echo.Echo/Unary", wrapperspb.String("deadline"), out); err != nil || out.Value != "true true" {
			t.Errorf("%q %v", out.Value, err)
		}
		short, cancel = context.WithTimeout(ctx, time.Second) // enough to reach the server
		defer cancel()
		if err := cc.Invoke(short, "/echo.Echo/Unary", wrapperspb.String("wait"), out); status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
		wait(t, e.canceled, "unary")
	})
	t.Run("server stream", func(t *testing.T) {
		s := open(t, ctx, cc, "server")
		s.SendMsg(wrapperspb.String("n"))
		s.CloseSend()
		for i := range 100 {
			out := new(text)
			if err := s.RecvMsg(out); err != nil || out.Value != fmt.Sprint("n", i) {
				t.Fatalf("%d: %q %v", i, out.Value, err)
			}
		}
		if err := s.RecvMsg(new(text)); err != io.EOF || s.Trailer().Get("kind")[0] != "server" {
			t.Errorf("%v %v", err, s.Trailer())
		}
	})
	t.Run("head before the first message, and cancel", func(t *testing.T) {
		own, cancel := context.WithCancel(ctx)
		defer cancel()
		s := open(t, own, cc, "server")
		s.SendMsg(wrapperspb.String("head first"))
		s.CloseSend()
		if md, err := s.Header(); err != nil || md.Get("x-head")[0] != "early" {
			t.Fatalf("%v %v", md, err)
		}
		cancel()
		wait(t, e.canceled, "server")
	})
	t.Run("client stream", func(t *testing.T) {
		s := open(t, ctx, cc, "client")
		for range 50 {
			if err := s.SendMsg(wrapperspb.String(strings.Repeat("x", 10_000))); err != nil {
				t.Fatal(err)
			}
		}
		s.CloseSend()
		out := new(text)
		if err := s.RecvMsg(out); err != nil || out.Value != "500000" {
			t.Errorf("%q %v", out.Value, err)
		}
	})
	t.Run("full duplex", func(t *testing.T) {
		own, cancel := context.WithCancel(ctx)
		defer cancel()
		s := open(t, own, cc, "bidi")
		for i := range 50 { // each message is answered before the next is sent
			out := new(text)
			if err := s.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			if err := s.RecvMsg(out); err != nil || out.Value != fmt.Sprint(i) {
				t.Fatalf("%q %v", out.Value, err)
			}
		}
		cancel()
		wait(t, e.canceled, "bidi")
		s = open(t, ctx, cc, "bidi")
		s.SendMsg(wrapperspb.String("abort"))
		if err := s.RecvMsg(new(text)); status.Code(err) != codes.Aborted { // while the client could still send
			t.Error(err)
		}
	})
	t.Run("errors of the gateway", func(t *testing.T) {
		if err := w.grpc(t, "none.localhost").Invoke(ctx, "/echo.Echo/Unary", wrapperspb.String(""), new(text)); status.Code(err) != codes.Unimplemented {
			t.Error(err)
		}
		w.function("broken", api.RevisionSpec{}, func() (engine.Instance, error) {
			return nil, api.Errorf(api.CodeStartFailed, "no")
		})
		err := w.grpc(t, "broken.localhost").Invoke(ctx, "/echo.Echo/Unary", wrapperspb.String(""), new(text))
		if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "could not be started") {
			t.Error(err)
		}
		w.function("slow", api.RevisionSpec{Timeout: api.Duration{Duration: time.Second}}, always(in))
		if err := w.grpc(t, "slow.localhost").Invoke(ctx, "/echo.Echo/Unary", wrapperspb.String("wait"), new(text)); status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
		wait(t, e.canceled, "unary")
	})
	cc.Close()
	if r := w.waker; r.acquired.Load() != r.released.Load() {
		t.Logf("%d leases, %d released so far", r.acquired.Load(), r.released.Load())
	}
	in.stop()
}

// TestH2C mixes versions: clients of HTTP/1.1 and HTTP/2 at instances of either.
func TestH2C(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Proto", r.Proto)
		w.Header().Set("X-Uri", r.RequestURI)
		w.Header().Set("X-Host", r.Host)
		if r.URL.Path == "/no content" {
			w.WriteHeader(204)
			return
		}
		w.Write(body)
		w.Header().Set("X-Sum", fmt.Sprint(len(body), r.Trailer.Get("X-Client")))
	}
	for _, protocol := range []string{api.ProtocolHTTP, api.ProtocolH2C, api.ProtocolHearth} {
		w := newWorld(t)
		w.function("f", api.RevisionSpec{Concurrency: 10}, always(h2Peer(t, protocol, handler)))
		for _, major := range []int{1, 2} {
			t.Run(fmt.Sprintf("HTTP/%d to %s", major, protocol), func(t *testing.T) {
				p := new(http.Protocols)
				p.SetHTTP1(major == 1)
				p.SetUnencryptedHTTP2(major == 2)
				tr := &http.Transport{Protocols: p}
				defer tr.CloseIdleConnections()
				c := &http.Client{Transport: tr}
				sizes := []int{5, 1 << 20, 0}
				if protocol == api.ProtocolHearth { // whose server makes headers of trailers where there is no body
					sizes = sizes[:2]
				}
				for _, size := range sizes {
					rq := w.request("POST", "//a%2Fb/c%20d?q=%41&r", io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
					rq.Trailer = http.Header{"X-Client": nil}
					rq.Body = &onEOF{rq.Body, func() { rq.Trailer.Set("X-Client", "!") }}
					r, err := c.Do(rq)
					if err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(r.Body)
					r.Body.Close()
					proto := map[string]string{api.ProtocolHTTP: "HTTP/1.1", api.ProtocolH2C: "HTTP/2.0", api.ProtocolHearth: "HTTP/1.1"}[protocol]
					if err != nil || len(b) != size || r.ProtoMajor != major || r.Header.Get("X-Proto") != proto || r.Trailer.Get("X-Sum") != fmt.Sprint(size, "!") ||
						r.Header.Get("X-Uri") != "//a%2Fb/c%20d?q=%41&r" || r.Header.Get("X-Host") != "f.localhost" {
						t.Errorf("%d bytes: %d, %s, %v, %v, trailer %v", size, len(b), r.Proto, err, r.Header, r.Trailer)
					}
				}
				r, err := c.Do(w.request("GET", "/no%20content", nil))
				if err != nil || r.StatusCode != 204 {
					t.Fatal(r, err)
				}
				r.Body.Close()
				rq := w.request("HEAD", "/", nil)
				if r, err = c.Do(rq); err != nil || r.StatusCode != 200 {
					t.Fatal(r, err)
				}
				r.Body.Close()
			})
		}
	}
}

type onEOF struct {
	io.ReadCloser
	f func()
}

func (o *onEOF) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err == io.EOF {
		o.f()
	}
	return n, err
}

// h2Peer is peer, also for h2c.
func h2Peer(t *testing.T, protocol string, h http.HandlerFunc) *instance {
	t.Helper()
	if protocol != api.ProtocolH2C {
		return peer(t, protocol, h)
	}
	in := &instance{id: fmt.Sprintf("i%d", ids.Add(1)), protocol: protocol, socket: filepath.Join(t.TempDir(), "s"), done: make(chan struct{})}
	l, err := net.Listen("unix", in.socket)
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: p}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(l) }()
	var once sync.Once
	in.stop = func() { once.Do(func() { s.Close(); <-ended; close(in.done) }) }
	t.Cleanup(in.stop)
	return in
}
