"""Sandbox plans: the steps that turn a forked child into a sandboxed process.
driver/process/sandbox/PLAN.md is the contract; only what it marks Z is here."""
import base64
import ctypes
import os
import resource
import socket
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
CLONE_NEWPID = 0x20000000
EPERM, EEXIST, EINVAL = 1, 17, 22


class Failed(Exception):
    pass


def _check(result):
    if result != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def _bytes(s):
    return s.encode() if s else None


def _prctl(option, a, b=0, c=0, d=0):
    _check(_libc.prctl(option, a, b, c, d))


def unshare(fds, flags):
    _check(_libc.unshare(ctypes.c_int(flags)))


def setns(fds, name, kind):
    fd = fds.pop(name)
    try:
        _check(_libc.setns(fd, kind))
    finally:
        os.close(fd)


def sync(fds, name):
    fd = fds.pop(name)
    try:
        os.write(fd, b"r")
        if os.read(fd, 1) != b"g":
            raise OSError(EPERM, "the host did not let it go on")
    finally:
        os.close(fd)


def mount(fds, source, target, kind, flags, data):
    _check(_libc.mount(source.encode(), target.encode(), _bytes(kind), ctypes.c_ulong(flags), _bytes(data)))


def write(fds, path, mode, content):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        b = content.encode()
        while b:
            b = b[os.write(fd, b) :]
    finally:
        os.close(fd)


def mkdir(fds, path, mode):
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass


def rlimit(fds, kind, soft, hard):
    resource.setrlimit(kind, (soft, hard))


def setsid(fds):
    try:
        os.setsid()
    except PermissionError:
        pass


def dropbounding(fds, *keep):
    for n in range(64):
        if n in keep:
            continue
        try:
            _prctl(24, n)
        except OSError as err:
            if err.errno != EINVAL or n == 0:
                raise
            break
    _prctl(47, 4)


def dropcaps(fds):
    header = struct.pack("=Ii", 0x20080522, 0)
    _check(_libc.capset(header, bytes(24)))


def seccomp(fds, program):
    code = base64.b64decode(program)
    keep = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(keep)))
    _prctl(22, 2, ctypes.addressof(head))


OPS = {
    "unshare": unshare,
    "setns": setns,
    "sync": sync,
    "mount": mount,
    "write": write,
    "mkdir": mkdir,
    "rlimit": rlimit,
    "setsid": setsid,
    "dropbounding": dropbounding,
    "dropcaps": dropcaps,
    "seccomp": seccomp,
    "sethostname": lambda fds, name: socket.sethostname(name),
    "umask": lambda fds, mask: os.umask(mask),
    "chdir": lambda fds, path: os.chdir(path),
    "setgroups": lambda fds, *groups: os.setgroups(list(groups)),
    "setgid": lambda fds, gid: os.setresgid(gid, gid, gid),
    "setuid": lambda fds, uid: os.setresuid(uid, uid, uid),
    "nonewprivs": lambda fds: _prctl(38, 1),
    "dumpable": lambda fds, n: _prctl(4, n),
}


def execute(steps, fds, first):
    """Run steps, of which the first has number `first` in messages."""
    for n, step in enumerate(steps, first):
        op = OPS.get(step[0])
        try:
            if op is None:
                raise OSError(EINVAL, "unknown operation")
            op(fds, *step[1:])
        except Exception as err:
            text = getattr(err, "strerror", None) or f"{type(err).__name__}: {err}"
            raise Failed(f"step {n} {step[0]}: {text}") from None


def fork(own_namespace):
    """Fork a child that is pid 1 of a new pid namespace."""
    _check(_libc.unshare(CLONE_NEWPID))
    pid = -1
    try:
        pid = os.fork()
        return pid
    finally:
        if pid != 0:
            _check(_libc.setns(own_namespace, CLONE_NEWPID))
