"""The loader's main loop, and the three ways user code runs in it: in line
(concurrency 1), in threads (more), in an asyncio loop (async code)."""
import atexit
import os
import select
import signal
import socket
import sys
import time

from _hearth import answers, event, load, logs, wire, wsgi

HELLO = {"version": 1, "runtime": "python", "runtimeVersion": "%d.%d.%d" % sys.version_info[:3], "loader": "1"}


class Woken(BaseException):
    """A signal came while the main loop was waiting."""


def end(logs, status):
    """Leave as Python does, but for taking all modules apart: in a process that
    was forked that copies nearly all of its memory, to give it back."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()  # waits for threads that are no daemons
        atexit._run_exitfuncs()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    logs.flush()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    os._exit(status)


class NoLock:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


class Server:
    def __init__(self, listener):
        self.lock = NoLock()  # held while frames are handled
        self.call_class = wire.Call
        self.listener = listener
        self.poller = select.poll()
        if listener is not None:
            self.poller.register(listener.fileno(), select.POLLIN)
        self.conns = {}
        self.control = None
        self.logs = logs.Logs()
        self.ready = []  # calls that wait to be run
        self.open = 0  # calls that were taken up and have no complete answer
        self.draining = False
        self.idle = False  # in the poll of the main loop
        self.spec = None  # of LOAD
        self.handler = load.Handler("function", lambda: "warm", (), None)
        self.loaded = False
        self.threads = None
        self.main = self.run_inline
        self.next = None  # the loop to go on with

    # --- what the wire tells

    def hello(self, conn):
        if conn.role == "control" and self.control is None:
            self.control = conn
            self.logs.connect(conn)

    def request(self, call):
        self.ready.append(call)

    def send(self, conn, b):
        try:
            conn.sock.sendall(b)
        except OSError:
            pass  # the reader finds out

    def wait(self, call, writing):
        self.turn()

    def wake(self, call):
        pass

    def cancelled(self, call):
        pass

    def closed(self, conn):
        try:
            self.poller.unregister(conn.fileno())
        except (KeyError, OSError, ValueError):
            pass
        self.conns.pop(conn.fileno(), None)
        if conn is self.control:
            os._exit(0)

    def drain(self):
        self.draining = True

    def signalled(self, *_):
        self.draining = True
        if self.idle:
            raise Woken  # poll would go on waiting

    def fork(self, spec):
        raise wire.Malformed("this loader is no zygote")

    def load(self, spec):
        if self.spec is not None:
            self.failed("this instance has its code already", "", "handler")
            return
        self.spec = spec
        began = time.perf_counter()
        os.environ.update(spec.get("env") or {})
        if "TZ" in (spec.get("env") or {}):
            time.tzset()
        try:
            handler = load.load(spec["code"], spec.get("handler") or "")
        except load.LoadError as err:
            self.failed(err.message, err.traceback, err.stage)
            return
        finally:
            self.logs.flush()
        self.handler = handler
        if handler.kind in ("asgi", "async"):
            from _hearth import aserver

            self.next = lambda: aserver.run(self, began)
            return
        if (spec.get("concurrency") or 1) > 1:
            from _hearth import threads

            self.threads = threads.Threads(self, spec["concurrency"])
        self.loaded_in(began)

    def loaded_in(self, began):
        self.loaded = True
        self.control.send(wire.json_frame(wire.LOADED, {"ms": round((time.perf_counter() - began) * 1000, 3)}))

    def failed(self, message, traceback, stage):
        self.control.send(wire.json_frame(wire.FAILED, {"message": message, "traceback": traceback, "stage": stage}))

    # --- the loop

    def turn(self, timeout=None):
        """Wait for something to read and read it; False when nothing came."""
        came = False
        for fd, _ in self.poller.poll(timeout):
            came = True
            self.idle = False
            conn = self.conns.get(fd)
            if conn is not None:
                conn.readable()
            elif fd == self.listener.fileno():
                self.accept()
        return came

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return None
        sock.setblocking(True)
        conn = wire.Conn(sock, self, HELLO)
        self.conns[conn.fileno()] = conn
        self.poller.register(conn.fileno(), select.POLLIN)
        return conn

    def run(self):
        signal.signal(signal.SIGTERM, self.signalled)
        while True:
            try:
                self.step()
            except Woken:
                self.idle = False

    def step(self):
        while self.ready:
            self.main(self.ready.pop(0))
        if self.next is not None:
            self.next()  # does not return
        if self.draining and self.open == 0:
            # A call sent before DRAIN may be read after it.
            if not self.turn(0):
                self.leave(0)
            return
        self.idle = True
        if not self.draining or self.open:
            self.turn()
        self.idle = False

    def leave(self, status):
        end(self.logs, status)

    # --- running a call in line

    def run_inline(self, call):
        if self.threads is not None:
            self.threads.put(call)
            return
        self.open += 1
        self.logs.inline = call.id
        try:
            self.perform(call)
        finally:
            self.logs.flush()
            self.logs.inline = ""
            self.open -= 1

    def perform(self, call):
        """Run a call with synchronous code, to its end."""
        handler = self.handler
        try:
            if handler.kind == "wsgi":
                wsgi.call(call, handler.fn, self.threads is not None)
            else:
                answers.answer(call, handler.call(event.Event(call, call.read_all()), call, self.spec))
        except BaseException as err:
            self.fell(call, err)

    def fell(self, call, err):
        """Report what a handler raised, and answer."""
        if call.gone:
            return
        if isinstance(err, event.ClientError) and not call.started:
            call.answer(err.status, answers.TEXT, f"{err}\n".encode())
            return
        self.logs.put(2, load.traceback_of(err), call.id)
        if call.started:
            call.abandon("the function failed")
        elif not call.done:
            text = f"the function failed; its log says why (request {call.id})\n"
            call.answer(500, answers.TEXT, text.encode())


def main(fd, warm):
    listener = socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    listener.setblocking(False)
    if warm:
        from _hearth import warming

        # On a server of its own: the host may be connecting to ours already.
        warming.call(Server(None))
    server = Server(listener)
    logs.install(server.logs)
    sys.argv[0] = ""
    server.run()
