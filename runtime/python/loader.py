"""Hearth's loader for Python (3.9 or newer).

Started without user code, given code by LOAD, called by REQUEST frames;
../PROTOCOL.md is the contract and README.md says how handlers are called. With
--zygote it never loads code itself and forks loaders instead.
"""
import os
import sys

# The parts are imported as _hearth.*, so that no folder of ours is on sys.path,
# where user code would find it.
_package = type(sys)("_hearth")
_package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
sys.modules["_hearth"] = _package
sys.argv[1:], _arguments = [], sys.argv[1:]

from _hearth import server  # noqa: E402

if __name__ == "__main__":
    _fd = int(os.environ.pop("HEARTH_LISTEN_FD", "3"))
    os.environ.pop("HEARTH_URGENT", None)
    if "--zygote" in _arguments:
        from _hearth import zygote

        # Returns in every child, with the child's own listening socket.
        _fd = zygote.run(_fd)
    server.main(_fd, warm="--zygote" not in _arguments)
