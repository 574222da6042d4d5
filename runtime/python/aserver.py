"""Async functions and ASGI applications: the main loop is asyncio's."""
import asyncio
import os
import signal

from _hearth import answers, event, load, logs, wire


class Loop:
    def __init__(self, server):
        self.server = server
        self.loop = None
        self.out = {}  # conn: pieces to write at the end of this turn
        self.tasks = set()
        self.app = None
        self.stopping = None
        self.lifespan = None

    # --- the server's side, adapted

    def send(self, conn, b):
        if asyncio._get_running_loop() is not self.loop:
            # A thread of user code prints.
            self.loop.call_soon_threadsafe(self.send, conn, b)
            return
        pieces = self.out.get(conn)
        if pieces is None:
            if not self.out:
                self.loop.call_soon(self.flush)
            self.out[conn] = pieces = []
        pieces.append(b)

    def flush(self):
        out, self.out = self.out, {}
        for conn, pieces in out.items():
            try:
                conn.sock.sendall(b"".join(pieces))
            except OSError:
                pass  # the reader finds out

    def wake(self, call):
        waiters, call.waiter = call.waiter, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def cancelled(self, call):
        if call.task is not None:
            call.task.cancel()

    def request(self, call):
        call.task = task = self.loop.create_task(self.run(call))
        self.tasks.add(task)

    def closed(self, conn):
        if self.loop is not None:
            self.loop.remove_reader(conn.fileno())
        self.server.conns.pop(conn.fileno(), None)
        if conn is self.server.control:
            os._exit(0)

    def accept(self):
        conn = self.server.accept()
        if conn is not None:
            self.loop.add_reader(conn.fileno(), conn.readable)

    def drain(self, *_):
        self.server.draining = True
        self.quiet()

    def quiet(self):
        # A call sent before DRAIN may be read after it, so there is a last look.
        if self.server.draining and not self.tasks:
            self.loop.call_later(0.002, self.stop)

    def stop(self):
        if not self.tasks and not self.stopping.done():
            self.stopping.set_result(None)

    # --- calls

    async def run(self, call):
        logs.request_id.set(call.id)
        handler = self.server.handler
        timer = None
        if call.deadline:
            import time

            timer = self.loop.call_later(max(0.0, call.deadline - time.time()), call.task.cancel)
        try:
            if handler.kind == "asgi":
                await self.app.call(call)
            else:
                await self.function(call, handler)
        except asyncio.CancelledError:
            # The deadline, the host, or the code cancelled itself.
            if not call.gone and not call.done:
                if call.started:
                    call.abandon("the call was cancelled")
                else:
                    late = call.deadline and timer is not None and timer.when() <= self.loop.time()
                    status, text = (504, "the deadline has passed\n") if late else (500, "the call was cancelled\n")
                    call.respond(status, answers.TEXT, text.encode())
        except wire.Cancelled:
            pass
        except BaseException as err:
            self.fell(call, err)
        finally:
            if timer is not None:
                timer.cancel()
            self.server.logs.flush(call.id)
            self.tasks.discard(call.task)
            call.task = None
            self.quiet()

    def fell(self, call, err):
        if call.gone:
            return
        if isinstance(err, event.ClientError) and not call.started:
            call.respond(err.status, answers.TEXT, f"{err}\n".encode())
            return
        self.server.logs.put(2, load.traceback_of(err), call.id)
        if call.started:
            call.abandon("the function failed")
        elif not call.done:
            call.respond(500, answers.TEXT, f"the function failed; its log says why (request {call.id})\n".encode())

    async def function(self, call, handler):
        raw = call.read_all() if call.body_ended else await read_all(call)
        value = handler.call(event.Event(call, raw), call, self.server.spec)
        if hasattr(value, "__await__"):
            value = await value
        status, headers, body, trailers = answers.unpack(value)
        kind, data = answers.encode(body)
        if data is not None:
            status, block = answers.head(status, headers, kind, body)
            await write(call, call.respond(status, block, data, end=trailers is None), end=trailers is None)
            if trailers is not None:
                call.end(trailers)
            return
        stream = body if hasattr(body, "__anext__") else sync_pieces(body)
        try:
            async for piece in stream:
                kind, data = answers.chunk(piece)
                if not call.started:
                    status, block = answers.stream_head(status, headers, kind)
                    call.respond(status, block, end=False)
                await write(call, data)
            if not call.started:
                status, block = answers.head(status or 200, headers, None, b"")
                call.respond(status, block, end=False)
            call.end(trailers)
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()

    async def main(self, began):
        server = self.server
        self.loop = asyncio.get_running_loop()
        self.stopping = self.loop.create_future()
        server.send, server.wake, server.cancelled = self.send, self.wake, self.cancelled
        server.request, server.closed, server.drain = self.request, self.closed, self.drain
        try:
            self.loop.add_signal_handler(signal.SIGTERM, self.drain)
        except (NotImplementedError, RuntimeError):
            signal.signal(signal.SIGTERM, lambda *_: self.loop.call_soon_threadsafe(self.drain))
        problem = None
        if server.handler.kind == "asgi":
            from _hearth import asgi

            self.app = asgi.App(server.handler.fn, server.logs)
            problem = await self.app.startup()
        for conn in list(server.conns.values()):
            self.loop.add_reader(conn.fileno(), conn.readable)
        self.loop.add_reader(server.listener.fileno(), self.accept)
        if problem is not None:
            server.failed(problem[0], problem[1], "import")
        else:
            server.loaded_in(began)
        for call in server.ready:
            self.request(call)
        server.ready = []
        await self.stopping
        if self.app is not None:
            await self.app.shutdown()
        self.flush()


def sync_pieces(body):
    async def generate():
        for piece in answers.pieces(body):
            yield piece

    return generate()


async def changed(call):
    """Wait until a frame about the call came; several tasks may."""
    waiter = asyncio.get_running_loop().create_future()
    if call.waiter is None:
        call.waiter = []
    call.waiter.append(waiter)
    await waiter


async def read(call):
    while True:
        b = call.poll()
        if b is not None:
            return b
        await changed(call)


async def read_all(call):
    parts = []
    while True:
        b = await read(call)
        if not b:
            return b"".join(parts)
        parts.append(b)


async def write(call, b, end=False):
    if not b and not end:
        return
    while not call.done:
        b = call.push(b, end)
        if call.gone:
            raise wire.Cancelled(call.reason)
        if not b:
            return
        await changed(call)


def run(server, began):
    try:
        asyncio.run(Loop(server).main(began))
    finally:
        server.logs.flush()
    server.leave(0)
