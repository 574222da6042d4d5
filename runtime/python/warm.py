"""Loaded and called once before any user code, so that nothing on that way is
met for the first time by a call."""


def main(event):
    return {"method": event.method, "body": event.body, "query": event.query, "agent": event.headers.get("user-agent")}


def broken(event):
    raise ValueError("warm")
