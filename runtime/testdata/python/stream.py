"""Streams, logs, cancellation, upgrades."""
import asyncio
import logging
import os
import sys
import threading


def echo(environ, start_response):
    start_response("200 OK", [])
    while True:
        b = environ["wsgi.input"].read1(65536)
        if not b:
            return
        yield b


async def aecho(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def flood(event):
    while True:
        yield bytes(10000)


async def aflood(event):
    while True:
        yield bytes(10000)


async def waits(event):
    print("waiting")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("stopped: cancelled")
        raise


def trailers(event):
    return {"status": 200, "body": "body", "trailers": {"x-sum": event.trailers["x-in"] + "!"}}


async def logs(event):
    print("one", event.body)
    sys.stdout.write("two ")
    await asyncio.sleep(0.001)
    logging.getLogger("x").error("err %s", event.body)
    sys.stdout.write("halves")
    return "ok"


def slogs(event):
    print("one", event.body)
    sys.stdout.write("two ")
    logging.getLogger("x").error("err %s", event.body)
    sys.stdout.write("halves")
    return "ok"


def direct(event):
    os.write(1, b"straight to the descriptor\n")
    return ""


waiting = []
all_in = threading.Event()


def together(event):
    waiting.append(1)
    if len(waiting) == event.body:
        all_in.set()
    all_in.wait()
    return event.request_id


async def atogether(event):
    waiting.append(1)
    while len(waiting) < event.body:
        await asyncio.sleep(0)
    return event.request_id


def half(event):
    yield "begun"
    raise ValueError("midway")


async def aslow(event):
    await asyncio.sleep(0.05)
    return "slow"


def slow(event):
    threading.Event().wait(0.05)
    return "slow"


async def live(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["started"] = "yes"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        print("shut down")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/refuse":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                print("closed with", message["code"])
                return
            await send({"type": "websocket.send", "text": message["text"].upper()})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["state"]["started"].encode()})


async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
