"""ASGI 3 applications: http, lifespan and websocket."""
import asyncio
from urllib.parse import unquote

from _hearth import aserver, answers, load, wire


def scope_of(call, kind):
    path, _, query = call.target.partition("?")
    address, _, port = call.remote.rpartition(":")
    host, _, server_port = call.authority.partition(":") if "[" not in call.authority else (call.authority, "", "")
    headers = call.headers
    if not any(k == b"host" for k, _ in headers):
        headers = [(b"host", call.authority.encode("latin-1")), *headers]
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": call.scheme or "http",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "client": (address.strip("[]"), int(port)) if port.isdigit() else None,
        "server": (host, int(server_port) if server_port.isdigit() else (443 if call.scheme == "https" else 80)),
        "state": {},
        "extensions": {"http.response.trailers": {}},
    }


class App:
    def __init__(self, fn, logs):
        self.fn = fn
        self.logs = logs
        self.state = {}
        self.task = None

    # --- lifespan

    async def startup(self):
        """Run the application's start; (message, traceback) when it failed."""
        self.inbox = asyncio.Queue()
        self.started = asyncio.get_running_loop().create_future()
        self.stopped = asyncio.get_running_loop().create_future()
        self.inbox.put_nowait({"type": "lifespan.startup"})
        self.task = asyncio.ensure_future(self.live())
        return await self.started

    async def live(self):
        try:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
            await self.fn(scope, self.inbox.get, self.told)
        except BaseException as err:
            # Raising on lifespan is how an application says it has none.
            if self.started.done() and not self.stopped.done():
                self.logs.put(2, load.traceback_of(err), "")
        finally:
            for f in (self.started, self.stopped):
                if not f.done():
                    f.set_result(None)

    async def told(self, message):
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self.started.done():
            self.started.set_result(None)
        elif kind == "lifespan.startup.failed" and not self.started.done():
            text = message.get("message") or "the application's startup failed"
            self.started.set_result((text.strip().split("\n")[-1], text))
        elif kind.startswith("lifespan.shutdown") and not self.stopped.done():
            self.stopped.set_result(None)

    async def shutdown(self):
        if self.task is None or self.task.done():
            return
        self.inbox.put_nowait({"type": "lifespan.shutdown"})
        try:
            await asyncio.wait_for(self.stopped, 10)
        except asyncio.TimeoutError:
            pass

    # --- calls

    async def call(self, call):
        upgrade = call.header(b"upgrade")
        if upgrade is not None and upgrade.lower() == b"websocket" and call.header(b"sec-websocket-key") is not None:
            from _hearth import websocket

            scope = scope_of(call, "websocket")
            scope["state"] = self.state.copy()
            await websocket.serve(call, self.fn, scope)
            return
        scope = scope_of(call, "http")
        scope["state"] = self.state.copy()
        http = Http(call)
        await self.fn(scope, http.receive, http.send)
        if call.gone or call.done:
            return
        if not call.started:
            raise RuntimeError("the ASGI application returned without an answer")
        if http.trailers_due:
            call.end()
        else:
            call.abandon("the application returned before its answer was complete")


class Http:
    def __init__(self, call):
        self.call = call
        self.status = None
        self.block = None
        self.ended = False
        self.trailers_due = False
        self.trailers = []

    async def receive(self):
        call = self.call
        if self.ended:
            # Nothing more but the end of the caller's interest.
            while not (call.gone or call.done):
                await aserver.changed(call)
            return {"type": "http.disconnect"}
        try:
            b = await aserver.read(call)
        except wire.Cancelled:
            return {"type": "http.disconnect"}
        self.ended = call.body_ended and not call.chunks
        return {"type": "http.request", "body": b, "more_body": not self.ended}

    async def send(self, message):
        call = self.call
        kind = message["type"]
        if call.gone:
            raise OSError("the caller is gone")
        if kind == "http.response.start":
            if self.status is not None:
                raise RuntimeError("http.response.start was sent twice")
            self.status = message["status"]
            self.block = wire.write_block(answers.header_list(message.get("headers")))
            self.trailers_due = bool(message.get("trailers"))
        elif kind == "http.response.body":
            if self.status is None:
                raise RuntimeError("http.response.body was sent before http.response.start")
            if call.done:
                raise RuntimeError("the answer is complete already")
            body = message.get("body", b"")
            end = not message.get("more_body", False) and not self.trailers_due
            if not call.started:
                rest = call.respond(self.status, self.block, body, end)
                if rest:
                    await aserver.write(call, rest, end)
            else:
                await aserver.write(call, body, end)
            if end and call.waiter is not None:
                aserver_wake(call)
        elif kind == "http.response.trailers":
            self.trailers += answers.header_list(message.get("headers"))
            if not message.get("more_trailers", False):
                call.end(self.trailers)
        else:
            raise RuntimeError(f"unknown message {kind}")


def aserver_wake(call):
    call.conn.server.wake(call)
