"""From what a function returned to a RESPONSE."""
import json

from _hearth import wire

TEXT = wire.write_block([("content-type", "text/plain; charset=utf-8")])
_types = {str: "text/plain; charset=utf-8", bytes: "application/octet-stream", dict: "application/json"}
_blocks = {k: wire.write_block([("content-type", v)]) for k, v in _types.items()}
_none = wire.write_block([])
_answer_keys = {"status", "statusCode", "headers", "body", "trailers"}
_hop = {"connection", "transfer-encoding", "keep-alive", "proxy-connection"}


def header_list(headers):
    """[(name, value)] from a mapping or pairs; a list of values repeats a name."""
    out = []
    if headers is None:
        return out
    for k, v in headers.items() if hasattr(headers, "items") else headers:
        if v is None:
            continue
        k = k.decode("latin-1") if isinstance(k, bytes) else str(k)
        if k.lower() in _hop:
            continue
        out += [(k, one) for one in v] if isinstance(v, (list, tuple)) else [(k, v)]
    return out


def _is_status(s):
    return isinstance(s, int) and not isinstance(s, bool) and 100 <= s <= 599


def unpack(value):
    """(status, headers, body, trailers) of what was returned: a tuple (body,
    status[, headers]), a dict of nothing but status, headers, body, trailers
    with a status, or the body itself."""
    if isinstance(value, tuple) and 2 <= len(value) <= 3:
        if _is_status(value[1]):
            return value[1], header_list(value[2] if len(value) == 3 else None), value[0], None
        if _is_status(value[0]):  # (status, body[, headers])
            return value[0], header_list(value[2] if len(value) == 3 else None), value[1], None
    if isinstance(value, dict):
        status = value.get("status", value.get("statusCode"))
        if _is_status(status) and not (value.keys() - _answer_keys):
            trailers = header_list(value.get("trailers")) or None
            return status, header_list(value.get("headers")), value.get("body"), trailers
    return None, [], value, None


def encode(body):
    """(type, bytes) of a whole body; (None, None) of one to iterate over."""
    if isinstance(body, str):
        return str, body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes, bytes(body)
    if body is None:
        return None, b""
    if not isinstance(body, (dict, list, tuple, int, float, bool)) and (hasattr(body, "__next__") or hasattr(body, "__anext__") or hasattr(body, "read")):
        return None, None
    if isinstance(body, (set, frozenset)):
        body = list(body)
    return dict, json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def head(status, headers, kind, body):
    if status is None:
        status = 204 if body is None else 200
    if not headers:
        return status, _blocks[kind] if kind else _none
    if kind and not any(k.lower() == "content-type" for k, _ in headers):
        headers = headers + [("content-type", _types[kind])]
    return status, wire.write_block(headers)


def chunk(piece):
    """One piece of a streamed body, and the kind of it."""
    if isinstance(piece, str):
        return str, piece.encode()
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes, bytes(piece)
    return dict, json.dumps(piece, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def stream_head(status, headers, kind):
    if kind is dict and not any(k.lower() == "content-type" for k, _ in headers):
        headers = headers + [("content-type", "application/x-ndjson")]
    return head(status or 200, headers, kind, b"")


def pieces(body):
    if hasattr(body, "read") and not hasattr(body, "__next__"):
        return iter(lambda: body.read(65536), b"")
    return body


def answer(call, value):
    status, headers, body, trailers = unpack(value)
    kind, data = encode(body)
    if data is not None:
        status, block = head(status, headers, kind, body)
        if trailers is None:
            call.answer(status, block, data)
        else:
            rest = call.respond(status, block, data, end=False)
            if rest:
                call.write(rest)
            call.end(trailers)
        return
    stream = iter(pieces(body))
    try:
        for piece in stream:
            kind, data = chunk(piece)
            if not call.started:
                status, block = stream_head(status, headers, kind)
                call.respond(status, block, end=False)
            call.write(data)
        if not call.started:
            status, block = head(status or 200, headers, None, b"")
            call.respond(status, block, end=False)
        call.end(trailers)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
