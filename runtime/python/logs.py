"""What user code prints, sent as LOG frames with the id of its call."""
import contextvars
import io
import struct
import sys

from _hearth import wire

# The id of the call in whose context code runs; threads and tasks have their own.
request_id = contextvars.ContextVar("hearth_request_id", default="")

KEPT = 1 << 20  # characters kept while there is no control connection


class Logs:
    def __init__(self):
        self.conn = None
        self.early = []
        self.size = 0
        self.partial = {}  # (stream, id): text of a line without an end
        self.inline = ""  # id of the call in line, for threads it started

    def current(self):
        return request_id.get() or self.inline

    def connect(self, conn):
        self.conn = conn
        for which, rid, text in self.early:
            self.emit(which, rid, text)
        self.early = []

    def put(self, which, text, rid=None):
        if rid is None:
            rid = self.current()
        key = (which, rid)
        text = self.partial.pop(key, "") + text
        at = text.rfind("\n") + 1
        if len(text) - at > 16384:
            at = len(text)
        if at:
            self.emit(which, rid, text[:at])
        if at < len(text):
            self.partial[key] = text[at:]

    def flush(self, rid=None):
        for key in [k for k in self.partial if rid is None or k[1] == rid]:
            text = self.partial.pop(key, "")
            if text:
                self.emit(key[0], key[1], text)

    def emit(self, which, rid, text):
        if self.conn is None:
            if self.size < KEPT:
                self.size += len(text)
                self.early.append((which, rid, text))
            return
        if text.endswith("\n"):
            text = text[:-1]
        b = text.encode("utf-8", "backslashreplace")
        i = rid.encode("latin-1", "replace")
        for o in range(0, len(b) or 1, wire.CUT):
            payload = struct.pack(">BH", which, len(i)) + i + b[o : o + wire.CUT]
            self.conn.send(wire.frame(0, wire.LOG, 0, payload))


class _Bytes(io.RawIOBase):
    """The .buffer of a stream."""

    def __init__(self, text):
        self._text = text

    def writable(self):
        return True

    def write(self, b):
        self._text.write(bytes(b).decode("utf-8", "replace"))
        return len(b)

    def fileno(self):
        return self._text.fileno()


class Stream(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr."""

    def __init__(self, logs, which, name):
        self._logs = logs
        self._which = which
        self.name = name
        self.mode = "w"
        self.buffer = _Bytes(self)

    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def write(self, s):
        if not isinstance(s, str):
            raise TypeError(f"write() argument must be str, not {type(s).__name__}")
        if s:
            self._logs.put(self._which, s)
        return len(s)

    def writable(self):
        return True

    def isatty(self):
        return False

    def fileno(self):
        return self._which

    def flush(self):
        pass

    def close(self):
        pass

    def reconfigure(self, **_):
        pass


def install(logs):
    sys.stdout = Stream(logs, 1, "<stdout>")
    sys.stderr = Stream(logs, 2, "<stderr>")
