"""A language server as Fission's contract describes it: generic until one POST
gives it code; the user's file is loaded from where the contract puts it."""
import http.server, importlib.machinery, importlib.util, json, os, sys, urllib.request

function = None


def load(path, name):
    global function
    module, _, fn = name.rpartition(".")
    if os.path.isdir(path):
        sys.path.insert(0, path)
        m = __import__(module or "main")
    else:
        loader = importlib.machinery.SourceFileLoader("user", path)
        m = importlib.util.module_from_spec(importlib.util.spec_from_loader("user", loader))
        loader.exec_module(m)
    function = getattr(m, fn or "main")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.path == "/specialize":
                assert not body and self.headers["Content-Type"].startswith("text/plain"), "v1 has no body"
                load("/userfunc/user", "main")
                return self.answer(202, "")
            if self.path == "/v2/specialize":
                call = json.loads(body)
                assert self.headers["Content-Type"] == "application/json"
                assert call["envVersion"] in (2, 3) and call["url"] == "" and call["FunctionMetadata"]["name"] == "f", call
                load(call["filepath"], call["functionName"])
                with open("/userfunc/state.json", "w") as f:  # some servers keep a state file there
                    json.dump(call, f)
                return self.answer(202, "")
        except Exception as e:
            import traceback
            return self.answer(500, repr(e) + "\n" + traceback.format_exc())
        self.call()

    def do_GET(self):
        self.call()

    def call(self):
        if function is None:
            return self.answer(500, "Generic container: no requests supported")
        if self.path == "/wsevent":
            with urllib.request.urlopen("http://127.0.0.1:8000/wsevent/start") as r:
                return self.answer(200, "helper said %d" % r.status)
        self.answer(200, function())

    def log_message(self, *a):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 8888), Handler).serve_forever()
