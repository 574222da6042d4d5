package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw is a client that does as it likes.
type raw struct {
	t  *testing.T
	nc net.Conn
	*http2.Framer
	enc *hpack.Encoder
	dec *hpack.Decoder
	buf bytes.Buffer
}

func attack(t *testing.T, h http.HandlerFunc, change func(*Config)) *raw {
	t.Helper()
	_, dial := serve(t, h, change)
	nc, err := dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(time.Minute))
	r := &raw{t: t, nc: nc, Framer: http2.NewFramer(nc, nc)}
	r.AllowIllegalWrites = true
	r.enc, r.dec = hpack.NewEncoder(&r.buf), hpack.NewDecoder(4096, nil)
	io.WriteString(nc, Preface)
	r.WriteSettings()
	return r
}

func (r *raw) block(fields ...string) []byte {
	r.buf.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		r.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(r.buf.Bytes())
}

func get(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "x"}, more...)
}

func (r *raw) request(id uint32, end bool, fields ...string) {
	r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block(fields...), EndStream: end, EndHeaders: true})
}

// outcome reads until the stream's or the connection's end.
func (r *raw) outcome(id uint32) string {
	for {
		f, err := r.ReadFrame()
		switch f := f.(type) {
		case nil:
			if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer") {
				return "closed"
			}
			return err.Error()
		case *http2.GoAwayFrame:
			return "GOAWAY " + f.ErrCode.String()
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "RST " + f.ErrCode.String()
			}
		case *http2.HeadersFrame:
			fields, err := r.dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return err.Error()
			}
			if f.StreamID != id {
				continue
			}
			return "status " + fields[0].Value
		}
	}
}

func TestViolations(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	for name, c := range map[string]struct {
		do   func(*raw)
		want string
	}{
		"good":                  {func(r *raw) { r.request(1, true, get()...) }, "status 200"},
		"even stream":           {func(r *raw) { r.request(2, true, get()...) }, "GOAWAY PROTOCOL_ERROR"},
		"stream again":          {func(r *raw) { r.request(3, true, get()...); r.request(1, true, get()...) }, "GOAWAY STREAM_CLOSED"},
		"data without a stream": {func(r *raw) { r.WriteData(1, true, nil) }, "GOAWAY PROTOCOL_ERROR"},
		"data of zero":          {func(r *raw) { r.WriteData(0, true, nil) }, "GOAWAY PROTOCOL_ERROR"},
		"two settings halves":   {func(r *raw) { r.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{0, 4, 0}) }, "GOAWAY FRAME_SIZE_ERROR"},
		"huge window":           {func(r *raw) { r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) }, "GOAWAY FLOW_CONTROL_ERROR"},
		"window overflow":       {func(r *raw) { r.WriteWindowUpdate(0, 1<<31-1) }, "GOAWAY FLOW_CONTROL_ERROR"},
		"window of nothing":     {func(r *raw) { r.WriteWindowUpdate(0, 0) }, "GOAWAY PROTOCOL_ERROR"},
		"push":                  {func(r *raw) { r.WriteRawFrame(http2.FramePushPromise, 4, 1, []byte{0, 0, 0, 2}) }, "GOAWAY PROTOCOL_ERROR"},
		"big frame":             {func(r *raw) { r.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<14+1)) }, "GOAWAY FRAME_SIZE_ERROR"},
		"padding":               {func(r *raw) { r.request(1, false, get()...); r.WriteRawFrame(http2.FrameData, 8, 1, []byte{9, 1}) }, "GOAWAY PROTOCOL_ERROR"},
		"half a section": {func(r *raw) {
			r.WriteRawFrame(http2.FrameHeaders, 0, 1, r.block(get()...))
			r.WritePing(false, [8]byte{})
		}, "GOAWAY PROTOCOL_ERROR"},
		"continued by another": {func(r *raw) {
			r.WriteRawFrame(http2.FrameHeaders, 0, 1, r.block(get()...))
			r.WriteContinuation(3, true, nil)
		}, "GOAWAY PROTOCOL_ERROR"},
		"bad compression": {func(r *raw) { r.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) }, "GOAWAY COMPRESSION_ERROR"},
		"endless continuation": {func(r *raw) {
			r.WriteRawFrame(http2.FrameHeaders, 1, 1, nil)
			for range 100 {
				r.WriteContinuation(1, false, nil)
			}
		}, "GOAWAY ENHANCE_YOUR_CALM"},
		"large header": {func(r *raw) {
			r.large(1, long)
		}, "status 431"},
		"more than told":           {func(r *raw) { r.request(1, false, get("content-length", "2")...); r.WriteData(1, true, []byte("four")) }, "RST PROTOCOL_ERROR"},
		"less than told":           {func(r *raw) { r.request(1, false, get("content-length", "9")...); r.WriteData(1, true, []byte("four")) }, "RST PROTOCOL_ERROR"},
		"nothing of what was told": {func(r *raw) { r.request(1, true, get("content-length", "9")...) }, "RST PROTOCOL_ERROR"},
		"two lengths":              {func(r *raw) { r.request(1, false, get("content-length", "1", "content-length", "2")...) }, "RST PROTOCOL_ERROR"},
		"upper case":               {func(r *raw) { r.request(1, true, get("X-Upper", "1")...) }, "RST PROTOCOL_ERROR"},
		"line end in a value":      {func(r *raw) { r.request(1, true, get("x", "a\r\nb: c")...) }, "RST PROTOCOL_ERROR"},
		"space in a name":          {func(r *raw) { r.request(1, true, get("x ", "a")...) }, "RST PROTOCOL_ERROR"},
		"connection field":         {func(r *raw) { r.request(1, true, get("transfer-encoding", "chunked")...) }, "RST PROTOCOL_ERROR"},
		"te":                       {func(r *raw) { r.request(1, true, get("te", "gzip")...) }, "RST PROTOCOL_ERROR"},
		"te trailers":              {func(r *raw) { r.request(1, true, get("te", "trailers")...) }, "status 200"},
		"no path":                  {func(r *raw) { r.request(1, true, ":method", "GET", ":scheme", "http", ":authority", "x") }, "RST PROTOCOL_ERROR"},
		"two paths":                {func(r *raw) { r.request(1, true, get(":path", "/b")...) }, "RST PROTOCOL_ERROR"},
		"late pseudo field": {func(r *raw) {
			r.request(1, true, ":method", "GET", ":scheme", "http", ":authority", "x", "a", "b", ":path", "/")
		}, "RST PROTOCOL_ERROR"},
		"unknown pseudo field": {func(r *raw) { r.request(1, true, get(":status", "200")...) }, "RST PROTOCOL_ERROR"},
		"relative path":        {func(r *raw) { r.request(1, true, ":method", "GET", ":scheme", "http", ":path", "a", ":authority", "x") }, "RST PROTOCOL_ERROR"},
		"two hosts":            {func(r *raw) { r.request(1, true, get("host", "other")...) }, "RST PROTOCOL_ERROR"},
		"host for authority":   {func(r *raw) { r.request(1, true, ":method", "GET", ":scheme", "http", ":path", "/", "host", "x") }, "status 200"},
		"user in authority": {func(r *raw) {
			r.request(1, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a@b")
		}, "RST PROTOCOL_ERROR"},
		"bad trailers":          {func(r *raw) { r.request(1, false, get("x-wait", "1")...); r.request(1, true, ":path", "/") }, "RST PROTOCOL_ERROR"},
		"fields behind the end": {func(r *raw) { r.request(1, true, get("x-wait", "1")...); r.request(1, true, "a", "b") }, "GOAWAY STREAM_CLOSED"},
		"window broken": {func(r *raw) {
			r.request(1, false, get("x-wait", "1")...)
			for range 20 {
				r.WriteData(1, false, make([]byte, 1<<14))
			}
		}, "RST FLOW_CONTROL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			r := attack(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Wait") != "" {
					select {
					case <-release:
					case <-r.Context().Done():
					}
				}
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					panic(http.ErrAbortHandler)
				}
			}, nil)
			c.do(r)
			if got := r.outcome(1); got != c.want && !(c.want[0] == 'G' && got == "closed") {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// large sends a section of more than the limit, in parts.
func (r *raw) large(id uint32, value string) {
	b := r.block(get("a", value, "b", value, "c", value, "d", value)...)
	first := true
	for len(b) > 0 {
		n := min(len(b), 1<<14)
		if first {
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b[:n], EndStream: true, EndHeaders: n == len(b)})
		} else {
			r.WriteContinuation(id, n == len(b), b[:n])
		}
		first, b = false, b[n:]
	}
}

func TestTooManyStreams(t *testing.T) {
	release := make(chan struct{})
	r := attack(t, func(w http.ResponseWriter, r *http.Request) { <-release }, func(c *Config) { c.MaxStreams = 3 })
	defer close(release)
	for id := uint32(1); id <= 7; id += 2 {
		r.request(id, true, get()...)
	}
	if got := r.outcome(7); got != "RST REFUSED_STREAM" {
		t.Errorf("the fourth of three: %s", got)
	}
}

// TestRapidReset: calls that are begun and broken off again and again end the
// connection before they cost much (CVE-2023-44487).
func TestRapidReset(t *testing.T) {
	release := make(chan struct{})
	r := attack(t, func(w http.ResponseWriter, r *http.Request) { <-release }, nil)
	defer close(release)
	go func() {
		for id := uint32(1); id < 20_000; id += 2 {
			r.request(id, true, get()...)
			if r.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	if got := r.outcome(0); got != "GOAWAY ENHANCE_YOUR_CALM" && got != "closed" {
		t.Error(got)
	}
}

func TestHalfAFrame(t *testing.T) {
	for name, part := range map[string][]byte{"frame": {0, 0, 8, 6, 0}, "section": appendHead(nil, 0, frameHeaders, 0, 1)} {
		r := attack(t, func(http.ResponseWriter, *http.Request) {}, func(c *Config) { c.HeaderTime = 50 * time.Millisecond })
		r.nc.Write(part)
		if got := r.outcome(1); got != "GOAWAY ENHANCE_YOUR_CALM" && got != "closed" {
			t.Errorf("half a %s: %s", name, got)
		}
	}
	r := attack(t, func(http.ResponseWriter, *http.Request) {}, func(c *Config) { c.IdleTime = 50 * time.Millisecond })
	if got := r.outcome(1); got != "GOAWAY NO_ERROR" && got != "closed" {
		t.Errorf("idle: %s", got)
	}
}

// TestStalledClient: an answer that nobody takes ends at its write deadline, and
// holds nobody else up.
func TestStalledClient(t *testing.T) {
	ended := make(chan error, 1)
	r := attack(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return
		}
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 32<<10))
		}
		ended <- err
	}, nil)
	r.request(1, true, ":method", "GET", ":scheme", "http", ":path", "/big", ":authority", "x")
	if err := <-ended; err == nil {
		t.Error("it went on")
	}
	r.request(3, true, get()...)
	if got := r.outcome(3); got != "status 200" {
		t.Error(got)
	}
}

func FuzzServer(f *testing.F) {
	r := &raw{}
	r.enc = hpack.NewEncoder(&r.buf)
	head := r.block(get("content-length", "4")...)
	frames := func(fs ...[]byte) []byte { return bytes.Join(fs, nil) }
	f.Add(frames(appendSettings(nil), append(appendHead(nil, len(head), frameHeaders, flagEndHeaders, 1), head...), append(appendHead(nil, 4, frameData, flagEndStream, 1), "body"...)))
	f.Add(frames(appendSettings(nil, settingInitialWindow, 0, settingTableSize, 0), append(appendHead(nil, len(head), frameHeaders, flagEndHeaders|flagEndStream, 1), head...), appendWindow(nil, 1, 10), appendReset(nil, 1, codeCancel)))
	f.Add(frames(appendSettings(nil), append(appendHead(nil, 5, frameHeaders, 0, 1), head[:5]...), append(appendHead(nil, len(head)-5, frameContinuation, flagEndHeaders, 1), head[5:]...)))
	f.Add(frames(appendSettings(nil), append(appendHead(nil, 8, framePing, 0, 0), "12345678"...), appendGoAway(nil, 0, codeNo, "bye"), appendHead(nil, 0, frameData, flagEndStream, 5)))
	f.Fuzz(func(t *testing.T, p []byte) {
		s := New(Config{Handler: http.HandlerFunc(echo), Log: slog.New(slog.DiscardHandler)})
		a, b := net.Pipe()
		done := make(chan struct{})
		go func() {
			s.ServeConn(a, []byte(Preface), nil)
			close(done)
		}()
		go io.Copy(io.Discard, b)
		b.SetWriteDeadline(time.Now().Add(30 * time.Second))
		b.Write(p)
		b.Close()
		<-done
		s.Close()
	})
}

func FuzzClient(f *testing.F) {
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	enc.WriteField(hpack.HeaderField{Name: "content-length", Value: "4"})
	head := bytes.Clone(buf.Bytes())
	frames := func(fs ...[]byte) []byte { return bytes.Join(fs, nil) }
	f.Add(frames(appendSettings(nil), append(appendHead(nil, len(head), frameHeaders, flagEndHeaders, 1), head...), append(appendHead(nil, 4, frameData, flagEndStream, 1), "body"...)))
	f.Add(frames(appendSettings(nil, settingMaxStreams, 1), appendReset(nil, 1, codeRefused)))
	f.Add(frames(appendSettings(nil), appendGoAway(nil, 0, codeNo, "")))
	f.Fuzz(func(t *testing.T, p []byte) {
		cl := NewClient(func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			go io.Copy(io.Discard, b)
			go func() {
				b.SetWriteDeadline(time.Now().Add(30 * time.Second))
				b.Write(p)
				b.Close()
			}()
			return a, nil
		})
		defer cl.Close()
		for _, body := range []io.Reader{nil, strings.NewReader("some")} {
			if _, _, err := ask(cl, "POST", "/", body); err == nil {
				continue
			}
		}
	})
}
