"""WebSocket (RFC 6455) for ASGI applications, over the raw bytes of a 101."""
import base64
import hashlib
import struct

from _hearth import answers, aserver, wire

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MOST = 16 << 20  # bytes of one message


class Closed(Exception):
    def __init__(self, code, reason=""):
        super().__init__(reason)
        self.code = code
        self.reason = reason


def unmask(data, key):
    n = len(data)
    mask = int.from_bytes((key * (n // 4 + 1))[:n], "big")
    return (int.from_bytes(data, "big") ^ mask).to_bytes(n, "big")


def encode(opcode, data):
    n = len(data)
    if n < 126:
        head = struct.pack(">BB", 0x80 | opcode, n)
    elif n < 65536:
        head = struct.pack(">BBH", 0x80 | opcode, 126, n)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 127, n)
    return head + data


class Socket:
    def __init__(self, call):
        self.call = call
        self.buffer = bytearray()
        self.opened = False  # connect was received
        self.accepted = False
        self.over = None  # close code, once closed by either side
        self.closing = False  # we sent CLOSE

    async def exactly(self, n):
        while len(self.buffer) < n:
            try:
                b = await aserver.read(self.call)
            except wire.Cancelled:
                b = b""
            if not b:
                raise Closed(1006)
            self.buffer += b
        out = bytes(self.buffer[:n])
        del self.buffer[:n]
        return out

    async def frame(self):
        a, b = await self.exactly(2)
        n = b & 0x7F
        if a & 0x70:
            raise Closed(1002, "reserved bits are set")
        if not b & 0x80:
            raise Closed(1002, "a client's frame must be masked")
        if n == 126:
            (n,) = struct.unpack(">H", await self.exactly(2))
        elif n == 127:
            (n,) = struct.unpack(">Q", await self.exactly(8))
        opcode = a & 0x0F
        if opcode >= 8 and (n > 125 or not a & 0x80):
            raise Closed(1002, "a control frame is too long or in pieces")
        if n > MOST:
            raise Closed(1009, "the message is too big")
        key = await self.exactly(4)
        return a & 0x80, opcode, unmask(await self.exactly(n), key)

    async def message(self):
        kind, parts, size = None, [], 0
        while True:
            fin, opcode, data = await self.frame()
            if opcode == PING:
                await self.write(encode(PONG, data))
            elif opcode == PONG:
                pass
            elif opcode == CLOSE:
                code = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005
                raise Closed(code, data[2:].decode("utf-8", "replace"))
            elif opcode in (TEXT, BINARY, CONTINUATION):
                if (opcode == CONTINUATION) != (kind is not None):
                    raise Closed(1002, "fragments out of order")
                kind = kind or opcode
                size += len(data)
                if size > MOST:
                    raise Closed(1009, "the message is too big")
                parts.append(data)
                if fin:
                    data = b"".join(parts)
                    if kind == BINARY:
                        return {"type": "websocket.receive", "bytes": data}
                    try:
                        return {"type": "websocket.receive", "text": data.decode()}
                    except UnicodeDecodeError:
                        raise Closed(1007, "text is not UTF-8") from None
            else:
                raise Closed(1002, "unknown opcode")

    async def write(self, b, end=False):
        try:
            await aserver.write(self.call, b, end)
        except wire.Cancelled:
            raise OSError("the client is gone") from None

    async def receive(self):
        if not self.opened:
            self.opened = True
            return {"type": "websocket.connect"}
        if self.over is None:
            try:
                return await self.message()
            except Closed as err:
                self.over = err.code
                reason = err.reason
                if err.code != 1006 and not self.closing and not self.call.gone:
                    self.closing = True
                    code = 1000 if err.code == 1005 else err.code
                    await self.write(encode(CLOSE, struct.pack(">H", code)), end=True)
                elif not self.call.gone:
                    self.call.end()
                return {"type": "websocket.disconnect", "code": self.over, "reason": reason}
        return {"type": "websocket.disconnect", "code": self.over}

    async def send(self, message):
        kind = message["type"]
        if kind == "websocket.accept":
            key = self.call.header(b"sec-websocket-key")
            headers = [
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-accept", base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()),
            ]
            if message.get("subprotocol"):
                headers.append(("sec-websocket-protocol", message["subprotocol"]))
            headers += answers.header_list(message.get("headers"))
            self.call.respond(101, wire.write_block(headers), end=False)
            self.accepted = True
        elif kind == "websocket.send":
            if self.over is not None or self.closing:
                raise OSError("the connection is closed")
            if message.get("bytes") is not None:
                await self.write(encode(BINARY, message["bytes"]))
            else:
                await self.write(encode(TEXT, message["text"].encode()))
        elif kind == "websocket.close":
            if not self.accepted:
                self.over = 1006
                self.call.respond(403, answers.TEXT, b"refused\n")
            elif not self.closing and self.over is None:
                self.closing = True
                reason = (message.get("reason") or "").encode()[:120]
                await self.write(encode(CLOSE, struct.pack(">H", message.get("code") or 1000) + reason), end=True)
                self.over = message.get("code") or 1000
        else:
            raise RuntimeError(f"unknown message {kind}")


async def serve(call, app, scope):
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    del scope["method"]
    protocols = call.header(b"sec-websocket-protocol")
    scope["subprotocols"] = [p.strip() for p in protocols.decode("latin-1").split(",")] if protocols else []
    socket = Socket(call)
    try:
        await app(scope, socket.receive, socket.send)
    except BaseException:
        if socket.accepted and not socket.closing and not call.gone and not call.done:
            call.push(encode(CLOSE, struct.pack(">H", 1011)), end=True)
        raise
    if not call.gone and not call.done:
        if socket.accepted:
            await socket.send({"type": "websocket.close"})
        else:
            call.respond(403, answers.TEXT, b"refused\n")
