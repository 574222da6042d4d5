"""A process that forks loaders: started and warmed once, it never loads code
itself and never answers calls."""
import array
import gc
import os
import signal
import socket
import sys

from _hearth import server, warming, wire


class Conn(wire.Conn):
    def recv(self):
        data, attached, _, _ = self.sock.recvmsg(1 << 17, socket.CMSG_SPACE(4 * 64), socket.MSG_DONTWAIT | getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        for level, kind, b in attached:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(b[: len(b) - len(b) % fds.itemsize])
                self.server.received += fds
        return data


class Zygote(server.Server):
    def __init__(self, listener):
        super().__init__(listener)
        self.received = []  # descriptors that came, in order
        self.forks = []  # FORKs to do, with their descriptors
        self.own = -1
        self.child = None

    def request(self, call):
        raise wire.Malformed("a zygote answers no calls")

    def load(self, spec):
        raise wire.Malformed("a zygote loads no code")

    def fork(self, spec):
        names = spec["fds"]
        if len(names) > len(self.received):
            raise wire.Malformed("FORK without its descriptors")
        fds, self.received = self.received[: len(names)], self.received[len(names) :]
        self.forks.append((spec, dict(zip(names, fds))))

    def reap(self, *_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.setblocking(True)
        conn = Conn(sock, self, {**server.HELLO, "zygote": True})
        self.conns[conn.fileno()] = conn
        self.poller.register(conn.fileno(), 1)

    def serve(self):
        """The loop; it returns in a child, with the FORK's spec and descriptors."""
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        signal.signal(signal.SIGCHLD, self.reap)
        if sys.platform == "linux":
            self.own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        while True:
            while self.forks:
                spec, fds = self.forks.pop(0)
                if self.one(spec, fds) == 0:
                    return spec, fds
            self.turn()

    def one(self, spec, fds):
        steps = spec.get("plan") or []
        answer = {"id": spec.get("id", "")}
        try:
            if steps and steps[0][0] == "pidns":
                from _hearth import plan

                pid = plan.fork(self.own)
            else:
                pid = os.fork()
            if pid == 0:
                return 0
            answer["pid"] = pid
        except OSError as err:
            answer["error"] = str(err)
        for fd in fds.values():
            os.close(fd)
        self.control.send(wire.json_frame(wire.FORKED, answer))
        return -1


def become(zygote, spec, fds):
    """In the child: leave everything of the zygote, run the plan."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for conn in zygote.conns.values():
        conn.sock.close()
    zygote.listener.close()
    for fd in zygote.received:
        os.close(fd)
    for _, others in zygote.forks:
        for fd in others.values():
            os.close(fd)
    if zygote.own >= 0:
        os.close(zygote.own)
    steps = spec.get("plan") or []
    first = 1 if steps and steps[0][0] == "pidns" else 0
    try:
        if len(steps) > first:
            from _hearth import plan

            plan.execute(steps[first:], fds, first)
    except BaseException as err:
        os.write(fds["stderr"], f"{err}\n".encode())
        os._exit(125)
    listen, out, err = fds["listen"], fds["stdout"], fds["stderr"]
    if listen != 3:
        os.dup2(listen, 3, inheritable=False)
        os.close(listen)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for fd in {out, err} - {1, 2, 3}:
        os.close(fd)
    os.environ.update(spec.get("env") or {})
    gc.enable()
    return 3


def run(fd):
    listener = socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    listener.setblocking(False)
    warming.preload([f"_hearth.{p}" for p in warming.PARTS])
    if sys.platform == "linux":
        from _hearth import plan  # noqa: F401  (ctypes, before the fork)
    warming.preload(warming.COMMON)
    warming.call(server.Server(None))
    zygote = Zygote(listener)
    gc.collect()
    gc.disable()
    gc.freeze()
    spec, fds = zygote.serve()
    return become(zygote, spec, fds)
