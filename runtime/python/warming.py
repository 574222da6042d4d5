"""Running the real code paths on a call of our own, before user code comes."""
import importlib
import os
import socket
import struct
import sys

from _hearth import load, wire

# Modules user code is likely to import; a zygote's children share their pages.
COMMON = """
    abc argparse array ast asyncio base64 binascii bisect calendar codecs collections collections.abc concurrent.futures
    contextlib contextvars copy copyreg csv dataclasses datetime decimal difflib email email.message email.mime.text
    email.parser email.utils encodings.idna enum fnmatch fractions functools glob gzip hashlib heapq hmac html
    html.parser http http.client http.cookies http.server importlib importlib.metadata importlib.resources
    importlib.util inspect io ipaddress itertools json keyword linecache locale logging logging.config logging.handlers
    math mimetypes numbers operator os pathlib pickle pkgutil platform pprint queue quopri random re reprlib secrets
    selectors shlex shutil signal socket socketserver sqlite3 ssl stat statistics string stringprep struct subprocess
    sysconfig tarfile tempfile textwrap threading time token tokenize traceback types typing unicodedata unittest.mock
    urllib.error urllib.parse urllib.request uuid warnings weakref xml.etree.ElementTree zipfile zlib
""".split()
PARTS = ("answers", "asgi", "aserver", "event", "load", "logs", "threads", "websocket", "wire", "wsgi")


def preload(names):
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # a Python built without it
            pass


def call(server):
    """Make one call after another through server, which has no listener, over a
    pair of sockets."""
    ours, theirs = socket.socketpair()
    conn = wire.Conn(theirs, server, {})
    server.conns[conn.fileno()] = conn
    server.poller.register(conn.fileno(), 1)
    head = struct.pack(">I", 1000)
    for s in (b"POST", b"/?a=b", b"localhost", b"http", b"127.0.0.1:1", b"warm"):
        head += struct.pack(">H", len(s)) + s
    head += wire.write_block([("content-type", "application/json"), ("user-agent", "warm")])
    ours.sendall(wire.json_frame(wire.HELLO, {"version": 1, "role": "data"}))
    own = os.path.dirname(load.OWN)
    path, cwd = sys.path[:], os.getcwd()
    try:
        for name in ("warm.main", "warm.broken"):
            server.handler = load.load(own, name)
            for stream in (1, 3, 5):
                ours.sendall(wire.frame(stream, wire.REQUEST, wire.END, head + b'{"name":"warm"}'))
                while not server.ready:
                    server.turn()
                server.main(server.ready.pop(0))
        ours.recv(1 << 16)
    finally:
        sys.path[:] = path
        sys.modules.pop("warm", None)
        os.chdir(cwd)
        conn.close()
        ours.close()
