"""Frames and calls: what travels on one connection, with flow control."""
import json
import socket
import struct
import time

HELLO, LOAD, LOADED, FAILED, REQUEST, DATA, TRAILERS, RESPONSE = 1, 2, 3, 4, 5, 6, 7, 8
CANCEL, WINDOW, PING, PONG, LOG, DRAIN, FORK, FORKED = 9, 10, 11, 12, 13, 14, 16, 17
END = 1
MAX_PAYLOAD, MAX_BLOCK, START_WINDOW, STEP, CUT = 1 << 20, 256 << 10, 256 << 10, 64 << 10, 128 << 10

_head = struct.Struct(">IIBBH")
_u16 = struct.Struct(">H")
_u32 = struct.Struct(">I")


class Malformed(Exception):
    """The host broke the protocol; the connection ends."""


class Cancelled(Exception):
    """The host cancelled the call: the caller is gone or the deadline passed."""


def frame(stream, kind, flags, payload):
    return _head.pack(len(payload), stream, kind, flags, 0) + payload


def json_frame(kind, value):
    return frame(0, kind, 0, json.dumps(value).encode())


def read_block(b, o):
    """The headers at o as [(name, value)] of bytes, and the offset behind."""
    start = o
    (n,) = _u16.unpack_from(b, o)
    o += 2
    headers = []
    for _ in range(n):
        (k,) = _u16.unpack_from(b, o)
        o += 2
        name = b[o : o + k]
        o += k
        (v,) = _u32.unpack_from(b, o)
        o += 4
        value = b[o : o + v]
        o += v
        headers.append((name, value))
    if o > len(b):
        raise Malformed("header block cut off")
    if o - start > MAX_BLOCK:
        raise Malformed("header block too large")
    return headers, o


_bad = {c: None for c in b"\0\r\n"}


def write_block(headers):
    """Encode [(name, value)], bytes or str; names become lower case."""
    out = [_u16.pack(len(headers))]
    for name, value in headers:
        if not isinstance(name, bytes):
            name = str(name).encode("latin-1")
        if not isinstance(value, bytes):
            value = str(value)
            try:
                value = value.encode("latin-1")
            except UnicodeEncodeError:
                value = value.encode()
        if not name or b" " in name or b":" in name or any(c in _bad for c in name) or any(c in value for c in (b"\r", b"\n", b"\0")):
            raise ValueError(f"invalid header {name!r}: {value!r}")
        out += (_u16.pack(len(name)), name.lower(), _u32.pack(len(value)), value)
    b = b"".join(out)
    if len(b) > MAX_BLOCK:
        raise ValueError("headers are larger than 256 KiB")
    return b


class Conn:
    """One connection. The main loop calls readable; others only send."""

    def __init__(self, sock, server, hello):
        self.sock = sock
        self.server = server
        self.calls = {}
        self.role = ""
        self.rest = b""
        self.need = 12
        self.open = True
        self.send(json_frame(HELLO, hello))

    def fileno(self):
        return self.sock.fileno()

    def send(self, b):
        # The host always reads, so a blocking write is short.
        self.server.send(self, b)

    def readable(self):
        try:
            data = self.recv()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            with self.server.lock:
                self.feed(data)
        except (Malformed, struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            # What cannot be read as the protocol says: all of it is malformed.
            self.close()

    def recv(self):
        return self.sock.recv(1 << 17, socket.MSG_DONTWAIT)

    def feed(self, data):
        if self.rest:
            data = self.rest + data if isinstance(self.rest, bytes) else self.rest.__iadd__(data)
            if len(data) < self.need:
                # Grow in place while a large frame arrives in pieces.
                self.rest = data if isinstance(data, bytearray) else bytearray(data)
                return
            data = bytes(data)
            self.rest = b""
        o, size, need = 0, len(data), 12
        while size - o >= 12:
            n, stream, kind, flags, _ = _head.unpack_from(data, o)
            if n > MAX_PAYLOAD:
                raise Malformed("frame too large")
            if size - o < 12 + n:
                need = 12 + n
                break
            self.frame(stream, kind, flags, data[o + 12 : o + 12 + n])
            if not self.open:
                return
            o += 12 + n
        if o < size:
            self.rest = data[o:]
            self.need = need

    def frame(self, stream, kind, flags, b):
        if not self.role:
            if kind != HELLO:
                raise Malformed("no HELLO")
            hello = json.loads(b)
            if hello.get("version") != 1:
                raise Malformed("unknown version")
            self.role = "control" if hello.get("role") == "control" else "data"
            self.server.hello(self)
        elif kind == REQUEST:
            if stream == 0 or stream in self.calls:
                raise Malformed("stream in use")
            call = self.server.call_class(self, stream, b, flags & END)
            self.calls[stream] = call
            self.server.request(call)
        elif kind == DATA:
            if stream == 0:
                raise Malformed("DATA without a stream")
            call = self.calls.get(stream)
            if call is not None:
                call.received(b, flags & END)
        elif kind == WINDOW:
            if len(b) != 4:
                raise Malformed("WINDOW of a wrong length")
            call = self.calls.get(stream)
            if call is not None:
                call.granted(_u32.unpack(b)[0])
        elif kind == CANCEL:
            call = self.calls.pop(stream, None)
            if call is not None:
                call.cancel(b.decode("utf-8", "replace"))
        elif kind == TRAILERS:
            headers, _ = read_block(b, 0)
            call = self.calls.get(stream)
            if call is not None:
                call.trailers = headers
                call.received(b"", END)
        elif kind == PING:
            if len(b) != 8:
                raise Malformed("PING of a wrong length")
            self.send(frame(0, PONG, 0, b))
        elif kind == PONG:
            pass
        elif kind in (LOAD, DRAIN, FORK):
            if self.role != "control":
                raise Malformed("not on a data connection")
            if kind == LOAD:
                self.server.load(json.loads(b))
            elif kind == DRAIN:
                self.server.drain()
            else:
                self.server.fork(json.loads(b))
        elif kind < 128:
            raise Malformed(f"frame of unknown type {kind}")

    def close(self):
        if not self.open:
            return
        self.open = False
        calls, self.calls = self.calls, {}
        for call in list(calls.values()):
            call.cancel("the host closed the connection")
        self.server.closed(self)
        self.sock.close()


class Call:
    """One call. server.wait returns when something about it may have changed."""

    __slots__ = (
        "conn", "stream", "method", "target", "authority", "scheme", "remote", "id", "headers", "deadline",
        "chunks", "body_ended", "recv_left", "unacked", "trailers", "send_left",
        "started", "done", "gone", "reason", "waiter", "task",
    )  # fmt: skip

    def __init__(self, conn, stream, b, end):
        self.conn = conn
        self.stream = stream
        (ms,) = _u32.unpack_from(b, 0)
        self.deadline = time.time() + ms / 1000 if ms else 0.0
        o = 4
        strings = []
        for _ in range(6):
            (n,) = _u16.unpack_from(b, o)
            strings.append(b[o + 2 : o + 2 + n].decode("latin-1"))
            o += 2 + n
        self.method, self.target, self.authority, self.scheme, self.remote, self.id = strings
        self.headers, o = read_block(b, o)
        self.chunks = []
        self.body_ended = False
        self.recv_left = START_WINDOW
        self.unacked = 0
        self.trailers = []
        self.send_left = START_WINDOW
        self.started = self.done = self.gone = False
        self.reason = ""
        self.waiter = None
        self.task = None
        self.received(b[o:], end)

    def header(self, name):
        for k, v in self.headers:
            if k == name:
                return v
        return None

    # --- frames about this call, from the main loop

    def received(self, b, end):
        if self.body_ended:
            raise Malformed("body after its end")
        if b:
            self.recv_left -= len(b)
            if self.recv_left < 0:
                raise Malformed("window exceeded")
            if self.done:
                self.took(len(b))
            else:
                self.chunks.append(b)
        if end:
            self.body_ended = True
            if self.done:
                self.conn.calls.pop(self.stream, None)
        if self.waiter is not None:
            self.conn.server.wake(self)

    def granted(self, n):
        self.send_left += n
        if self.waiter is not None:
            self.conn.server.wake(self)

    def cancel(self, reason):
        self.gone = True
        self.body_ended = True
        self.reason = reason or "cancelled"
        if self.waiter is not None:
            self.conn.server.wake(self)
        self.conn.server.cancelled(self)

    # --- the body that comes in

    def took(self, n):
        self.unacked += n
        if self.body_ended or self.gone or (self.unacked < STEP and self.recv_left > 0):
            return
        n, self.unacked = self.unacked, 0
        self.recv_left += n
        self.conn.send(frame(self.stream, WINDOW, 0, _u32.pack(n)))

    def poll(self):
        """The next body bytes, b"" at the end, None when one has to wait."""
        if self.chunks:
            b = self.chunks.pop(0)
            self.took(len(b))
            return b
        if self.gone:
            raise Cancelled(self.reason)
        return b"" if self.body_ended else None

    def read(self):
        while True:
            b = self.poll()
            if b is not None:
                return b
            self.conn.server.wait(self, False)

    def read_all(self):
        if self.body_ended and len(self.chunks) == 1:
            return self.chunks.pop()
        parts = []
        while True:
            b = self.read()
            if not b:
                return b"".join(parts)
            parts.append(b)

    # --- the answer that goes out

    def respond(self, status, block, body=b"", end=True):
        """Send the response and what of body fits; returns the rest."""
        if self.done or self.gone:
            return b""
        self.started = status >= 200 or status == 101
        n = len(body)
        if n <= self.send_left and n <= CUT:
            self.send_left -= n
            self.conn.send(frame(self.stream, RESPONSE, END if end else 0, _u16.pack(status) + block + body))
            if end:
                self.finish()
            return b""
        self.conn.send(frame(self.stream, RESPONSE, 0, _u16.pack(status) + block))
        return self.push(body, end)

    def push(self, b, end=False):
        """Send as much of b as the window allows; returns the rest."""
        while b or end:
            if self.done or self.gone:
                return b""
            n = min(len(b), self.send_left, CUT)
            if n == 0 and b:
                return b
            last = end and n == len(b)
            self.send_left -= n
            self.conn.send(frame(self.stream, DATA, END if last else 0, bytes(b[:n])))
            if last:
                self.finish()
                return b""
            b = memoryview(b)[n:]
        return b""

    def write(self, b, end=False):
        """Send b, waiting for the host as needed."""
        while True:
            b = self.push(b, end)
            if self.gone:
                raise Cancelled(self.reason)
            if not b:
                return
            self.conn.server.wait(self, True)

    def answer(self, status, block, body):
        rest = self.respond(status, block, body)
        if rest:
            self.write(rest, end=True)

    def end(self, trailers=None):
        if self.done or self.gone:
            return
        if trailers:
            self.conn.send(frame(self.stream, TRAILERS, END, write_block(trailers)))
            self.finish()
        else:
            self.push(b"", end=True)

    def abandon(self, reason):
        """Give up a call whose answer cannot be completed."""
        if self.done or self.gone:
            return
        self.conn.send(frame(self.stream, CANCEL, 0, reason.encode()[:200]))
        self.conn.calls.pop(self.stream, None)
        self.gone = True
        self.finish()

    def finish(self):
        self.done = True
        for c in self.chunks:
            self.took(len(c))
        self.chunks = []
        if self.body_ended:
            self.conn.calls.pop(self.stream, None)
