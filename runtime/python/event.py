"""What functions are given: one object with lazy attributes."""
import json
from urllib.parse import parse_qsl


class ClientError(Exception):
    """The caller's fault: answered with its status, not logged."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Headers(dict):
    """Headers by name in lower case; looking up ignores case."""

    def __getitem__(self, name):
        return dict.__getitem__(self, name.lower())

    def __contains__(self, name):
        return dict.__contains__(self, name.lower())

    def get(self, name, default=None):
        return dict.get(self, name.lower(), default)


def headers_of(raw):
    h = Headers()
    for k, v in raw:
        k, v = k.decode("latin-1"), v.decode("latin-1")
        if dict.__contains__(h, k):
            v = dict.__getitem__(h, k) + ("; " if k == "cookie" else ", ") + v
        dict.__setitem__(h, k, v)
    return h


def pairs(text):
    """A query's or form's fields; one given twice becomes a list."""
    q = {}
    for k, v in parse_qsl(text, keep_blank_values=True):
        if k not in q:
            q[k] = v
        elif isinstance(q[k], list):
            q[k].append(v)
        else:
            q[k] = [q[k], v]
    return q


def parse_json(b):
    try:
        return json.loads(b)
    except ValueError as err:
        raise ClientError(400, f"the request body is not valid JSON: {err}") from None


def parse_body(kind, b):
    """Bytes as what their content type says: JSON, a form's fields, text, or
    bytes. curl -d says "form" whatever it sends, so a form that looks like JSON
    and parses as such is JSON."""
    if not b:
        return None
    kind = kind.split(b";", 1)[0].strip().lower() if kind is not None else None
    if kind is not None and (kind == b"application/json" or kind.endswith(b"+json")):
        return parse_json(b)
    if kind is None or kind == b"application/x-www-form-urlencoded":
        if b[:1] in (b"{", b"[") or (kind is None and b[:1] == b'"'):
            try:
                return json.loads(b)
            except ValueError:
                pass
        text = b.decode("utf-8", "replace")
        return text if kind is None else pairs(text)
    if kind.startswith(b"text/") or kind == b"application/xml":
        return b.decode("utf-8", "replace")
    return b


class Event:
    """One call. event.body and event["body"] are the same."""

    def __init__(self, call, raw):
        self._call = call
        self.raw = raw  # the body's bytes
        self.method = call.method
        self.request_id = call.id
        self.deadline = call.deadline or None  # seconds since 1970

    def __getattr__(self, name):
        make = _lazy.get(name)
        if make is None:
            raise AttributeError(f"an event has no {name!r}; it has " + ", ".join(sorted(_names)))
        value = self.__dict__[name] = make(self)
        return value

    @property
    def cancelled(self):
        return self._call.gone

    def __getitem__(self, name):
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def get(self, name, default=None):
        return getattr(self, name) if name in _names else default

    def __contains__(self, name):
        return name in _names

    def keys(self):
        return sorted(_names)

    def json(self):
        return parse_json(self.raw)

    def __repr__(self):
        return f"<Event {self.method} {self._call.target} {self.request_id}>"


_lazy = {
    "body": lambda e: parse_body(e._call.header(b"content-type"), e.raw),
    "headers": lambda e: headers_of(e._call.headers),
    "path": lambda e: e._call.target.split("?", 1)[0],
    "query": lambda e: pairs(e._call.target.partition("?")[2]),
    "params": lambda e: pairs((e._call.header(b"x-hearth-params") or b"").decode("latin-1")),
    "text": lambda e: e.raw.decode("utf-8", "replace"),
    "url": lambda e: f"{e._call.scheme or 'http'}://{e._call.authority or 'localhost'}{e._call.target}",
    "remote": lambda e: e._call.remote,
    "trailers": lambda e: headers_of(e._call.trailers),
    "request": lambda e: e,
}
_names = {"method", "request_id", "deadline", "raw", *_lazy}


class Context:
    """The second argument of handler(event, context)."""

    def __init__(self, call, spec):
        self._call = call
        spec = spec or {}
        self.request_id = call.id
        self.deadline = call.deadline or None
        self.function = spec.get("function", "")
        self.namespace = spec.get("namespace", "")
        self.revision = spec.get("revision", "")
        self.metadata = spec.get("metadata") or {}

    @property
    def cancelled(self):
        return self._call.gone

    def remaining(self):
        """Seconds until the deadline; None without one."""
        if self.deadline is None:
            return None
        import time

        return max(0.0, self.deadline - time.time())
