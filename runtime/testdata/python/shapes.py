"""The shapes a handler may have; the tests call each by its name."""
import os
import subprocess
import sys


def event(event):
    return {
        "method": event.method, "path": event.path, "query": event.query, "body": event["body"], "agent": event.headers["User-Agent"],
        "same": event.headers.get("user-agent"), "id": event.request_id, "params": event.params, "url": event.url, "env": os.environ["GREETING"],
    }  # fmt: skip


def context(event, context):
    return {"id": context.request_id, "fn": context.function, "left": context.remaining() > 1}


def fission(context):
    return {"status": 201, "body": f"made {context.request.body['name']}", "headers": {"X-Made": ["a", "b"]}}


def pair():
    return "teapot", 418


def triple(request):
    return {"a": 1}, 202, {"x-a": "b"}


def text():
    return "just text"


def bytes_(event):
    return b"\x00\x01\xff"


def nothing(event):
    pass


def number(event):
    return 42


def array(event):
    return [1, 2]


def lookalike(event):
    return {"status": 200, "name": "not an answer"}


def generator(event):
    yield "x"
    yield "y"


def objects(event):
    yield {"n": 1}
    yield {"n": 2}


async def later(event):
    return {"greeting": f"Hello, {event.body['name']}"}


async def agenerator(event):
    yield "x"
    yield "y"


def badJSON(event):
    return event.body["name"]


def throws(event):
    raise ValueError("by the handler")


async def rejects(event):
    raise TypeError("later")


def badHeader(event):
    return "", 200, {"x-a": "b\r\nx-evil: 1"}


def exits(event):
    os._exit(7)


notAFunction = 17


def child(event):
    return subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False).stdout


def path(event):
    return sys.path


def wsgi(environ, start_response):
    start_response("203 Fine", [("X-Req", environ["HTTP_HOST"]), ("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode(), environ["wsgi.input"].read()]


class Application:
    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return [b"wsgi"]


application = Application()


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 203, "headers": [(b"x-req", dict(scope["headers"])[b"host"])]})
    await send({"type": "http.response.body", "body": f"{scope['method']} {scope['path']} ".encode() + body})
