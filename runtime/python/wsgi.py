"""WSGI (PEP 3333) applications."""
import io
import sys
from urllib.parse import unquote_to_bytes

from _hearth import answers, wire


class Input(io.RawIOBase):
    """wsgi.input: the body as it arrives."""

    def __init__(self, call):
        self._call = call
        self._rest = b""

    def readable(self):
        return True

    def readinto(self, into):
        if not self._rest:
            self._rest = memoryview(self._call.read())
        n = min(len(into), len(self._rest))
        into[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n


def environ_of(call, threaded):
    path, _, query = call.target.partition("?")
    host, _, port = call.authority.rpartition(":") if ":" in call.authority.rpartition("]")[2] else (call.authority, "", "")
    env = {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": call.target,
        "RAW_URI": call.target,
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port or ("443" if call.scheme == "https" else "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "hearth",
        "REMOTE_ADDR": call.remote.rpartition(":")[0].strip("[]"),
        "REMOTE_PORT": call.remote.rpartition(":")[2],
        "HTTP_HOST": call.authority,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": call.scheme or "http",
        "wsgi.input": io.BufferedReader(Input(call), 65536),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threaded,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "hearth.request_id": call.id,
    }
    for k, v in call.headers:
        name = k.decode("latin-1").upper()
        if "_" in name:
            continue  # x_y and x-y would become one variable
        name = name.replace("-", "_")
        value = v.decode("latin-1")
        if name == "CONTENT_TYPE" or name == "CONTENT_LENGTH":
            env[name] = value
        else:
            name = "HTTP_" + name
            env[name] = env[name] + "," + value if name in env and name != "HTTP_HOST" else value
    if "CONTENT_LENGTH" not in env and call.body_ended:
        env["CONTENT_LENGTH"] = str(sum(map(len, call.chunks)))
    elif "CONTENT_LENGTH" not in env:
        env["HTTP_TRANSFER_ENCODING"] = "chunked"  # how a server says: of unknown length
    return env


def call(call, app, threaded):
    state = []  # [status, block]

    def start_response(status, headers, exc_info=None):
        if exc_info and call.started:
            raise exc_info[1].with_traceback(exc_info[2])
        if state and not exc_info:
            raise AssertionError("start_response was called twice")
        state[:] = int(status.split(" ", 1)[0]), wire.write_block(answers.header_list(headers))
        return write

    def begin(data, end):
        if not state:
            raise AssertionError("the application did not call start_response")
        return call.respond(state[0], state[1], data, end)

    def write(data):
        if call.started:
            call.write(data)
        else:
            rest = begin(data, False)
            if rest:
                call.write(rest)

    body = app(environ_of(call, threaded), start_response)
    try:
        if isinstance(body, (list, tuple)) and not call.started:
            rest = begin(b"".join(body), True)
            if rest:
                call.write(rest, end=True)
            return
        for data in body:
            if data:
                write(data)
        if not call.started:
            begin(b"", True)
        else:
            call.end()
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
