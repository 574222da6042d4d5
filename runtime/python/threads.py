"""Calls of synchronous code in threads, for functions with a concurrency above
one. The main thread alone reads; each call waits on a condition of its own."""
import queue
import threading

from _hearth import logs, wire

MOST = 256


def locked(name):
    plain = getattr(wire.Call, name)

    def method(self, *args, **kwargs):
        with self.conn.server.lock:
            return plain(self, *args, **kwargs)

    return method


class LockedCall(wire.Call):
    """A call whose state two threads share: the main one and its own."""

    __slots__ = ()
    poll, push, respond, end, abandon = map(locked, ("poll", "push", "respond", "end", "abandon"))


class Threads:
    def __init__(self, server, concurrency):
        self.server = server
        self.most = min(concurrency, MOST)
        self.all = 0  # threads; never fewer than open calls, up to most
        self.queue = queue.SimpleQueue()
        self.lock = server.lock = threading.RLock()
        server.call_class = LockedCall
        server.send = self.send
        server.wait = self.wait
        server.wake = self.wake

    def put(self, call):
        with self.lock:
            self.server.open += 1
            grow = self.all < min(self.server.open, self.most)
            if grow:
                self.all += 1
        if grow:
            threading.Thread(target=self.work, daemon=True, name=f"call-{self.all}").start()
        self.queue.put(call)

    def work(self):
        server = self.server
        while True:
            call = self.queue.get()
            token = logs.request_id.set(call.id)
            try:
                server.perform(call)
            finally:
                server.logs.flush(call.id)
                logs.request_id.reset(token)
                with self.lock:
                    server.open -= 1
                    last = server.draining and server.open == 0
                if last:
                    # The main thread may sit in its poll.
                    import signal

                    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

    def send(self, conn, b):
        with self.lock:
            try:
                conn.sock.sendall(b)
            except OSError:
                pass

    def wait(self, call, writing):
        with self.lock:
            # Frames are handled under the lock, so after this look nothing is missed.
            if call.gone or (call.send_left > 0 if writing else call.chunks or call.body_ended):
                return
            cond = threading.Condition(self.lock)
            call.waiter = cond
            cond.wait()
            call.waiter = None

    def wake(self, call):
        with self.lock:
            if call.waiter is not None:
                call.waiter.notify_all()
