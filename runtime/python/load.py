"""Finding the handler in /code and importing it, and which shape it has."""
import os
import sys

COROUTINE, ASYNC_GENERATOR, VARARGS = 0x80, 0x200, 0x04
USUAL_MODULES = ("main", "app", "handler", "function", "wsgi", "asgi", "index")
USUAL_NAMES = ("main", "handler", "app", "application", "handle", "lambda_handler")
OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep


class LoadError(Exception):
    def __init__(self, stage, message, traceback=""):
        super().__init__(message)
        self.stage = stage
        self.message = message
        self.traceback = traceback


def traceback_of(err):
    """Python's own words, without the loader's frames."""
    import traceback

    seen = set()

    def trim(e):
        while e is not None and id(e) not in seen:
            seen.add(id(e))
            tb = e.__traceback__
            while tb is not None and tb.tb_frame.f_code.co_filename.startswith((OWN, "<frozen importlib")):
                tb = tb.tb_next
            e.__traceback__ = tb
            trim(e.__cause__)
            e = e.__context__

    trim(err)
    return "".join(traceback.format_exception(type(err), err, err.__traceback__))


class Handler:
    """kind is function, wsgi, async or asgi; names are the parameters of a
    function, None when they cannot be known."""

    def __init__(self, kind, fn, names, module):
        self.kind = kind
        self.fn = fn
        self.module = module
        if names is None:
            self.arity = 1
        else:
            self.arity = min(2, len(names))

    def call(self, event, call, spec):
        if self.arity == 1:
            return self.fn(event)
        if self.arity == 0:
            return self.fn()
        from _hearth.event import Context

        return self.fn(event, Context(call, spec))


def paths(code):
    """sys.path of the artifact: its own folder, then its packages."""
    v = "python%d.%d" % sys.version_info[:2]
    out = [code]
    for p in (".hearth/python", f".venv/lib/{v}/site-packages", "src"):
        p = os.path.join(code, p)
        if os.path.isdir(p):
            out.append(p)
    return out


def host_packages():
    """Packages installed on the host beside the interpreter (apt-get install
    python3-django), which -S leaves out."""
    v = "python%d.%d" % sys.version_info[:2]
    for p in (f"local/lib/{v}/dist-packages", "lib/python3/dist-packages", f"lib/{v}/site-packages"):
        p = os.path.join(sys.prefix, p)
        if os.path.isdir(p):
            yield p


def set_path(code):
    new = paths(code)
    if not os.path.isdir(os.path.join(code, ".hearth/python")):
        # Nothing was asked for: what is not in the code may be on the host.
        sys.path += [p for p in host_packages() if p not in sys.path]
    for p in new[1:]:
        if any(n.endswith(".pth") for n in os.listdir(p)):
            # Some packages are found through .pth files only.
            import site

            site.addsitedir(p)
    sys.path[:0] = [p for p in new if p not in sys.path]


def locate(code, handler):
    """(module, attribute or "") of a handler like module.attribute,
    module:attribute, module, or nothing."""
    def there(module):
        p = os.path.join(code, *module.split("."))
        return os.path.isfile(p + ".py") or os.path.isfile(os.path.join(p, "__init__.py"))

    if handler.endswith(".py"):
        handler = handler[:-3]
    handler = handler.replace("/", ".")
    if handler:
        if ":" in handler:
            return handler.split(":", 1)
        if there(handler):
            return handler, ""
        module, _, name = handler.rpartition(".")
        if module:
            return module, name
        for usual in USUAL_MODULES:
            if there(usual):
                return usual, handler
        return handler, ""
    for usual in USUAL_MODULES:
        if there(usual):
            return usual, ""
    found = sorted(n[:-3] for n in os.listdir(code) if n.endswith(".py") and not n.startswith((".", "_", "test_", "conftest", "setup.")))
    if len(found) == 1:
        return found[0], ""
    looked = ", ".join(n + ".py" for n in USUAL_MODULES)
    more = f"; there are {', '.join(n + '.py' for n in found)}" if found else ""
    raise LoadError("handler", f"found no module to load: looked for {looked} or one single .py file{more}")


def names_of(module):
    own = getattr(module, "__name__", "")
    out = []
    for k, v in vars(module).items():
        if k.startswith("_") or not callable(v) or isinstance(v, type):
            continue
        if getattr(v, "__module__", own) == own or not hasattr(v, "__code__"):
            out.append(k)
    return out


def pick(module, name):
    file = (getattr(module, "__file__", None) or module.__name__).rsplit("/", 1)[-1]
    if name:
        fn = module
        for part in name.split("."):
            try:
                fn = getattr(fn, part)
            except AttributeError:
                there = ", ".join(names_of(module)) or "nothing callable"
                raise LoadError("handler", f'{file} has no "{name}"; it has {there}') from None
        if not callable(fn):
            there = ", ".join(names_of(module)) or "nothing callable"
            raise LoadError("handler", f'"{name}" of {file} is {type(fn).__name__}, not callable; it has {there}')
        return fn
    for usual in USUAL_NAMES:
        fn = getattr(module, usual, None)
        if callable(fn):
            return fn
    there = names_of(module)
    if len(there) == 1:
        return getattr(module, there[0])
    raise LoadError("handler", f"found no handler in {file}: looked for {', '.join(USUAL_NAMES)}; it has {', '.join(there) or 'nothing callable'}")


def code_of(fn):
    """The code object behind a callable and how many leading parameters are
    bound already; (None, 0) when there is none."""
    bound = 0
    for _ in range(20):
        wrapped = getattr(fn, "__wrapped__", None)
        if wrapped is not None:
            fn = wrapped
            continue
        if hasattr(fn, "__func__"):
            fn = fn.__func__
            bound += 1
            continue
        if hasattr(fn, "func") and hasattr(fn, "args") and not hasattr(fn, "__code__"):  # functools.partial
            bound += len(fn.args)
            fn = fn.func
            continue
        break
    code = getattr(fn, "__code__", None)
    return code, bound


def shape(fn):
    """(kind, parameter names or None) by signature."""
    instance = not hasattr(fn, "__code__") and not hasattr(fn, "__func__") and not isinstance(fn, type)
    code, bound = code_of(fn)
    if code is None and instance:
        if hasattr(fn, "wsgi_app"):  # Flask
            return "wsgi", None
        code, bound = code_of(type(fn).__call__)
        bound += 1
    if code is None:
        return "function", None
    names = code.co_varnames[bound : code.co_argcount]
    is_async = code.co_flags & (COROUTINE | ASYNC_GENERATOR)
    if names[:3] == ("scope", "receive", "send") or (is_async and len(names) >= 3):
        return "asgi", names
    if is_async:
        return "async", names
    if len(names) >= 2 and (names[1].startswith("start") or names[0] in ("environ", "env")):
        return "wsgi", names
    if not names and code.co_flags & VARARGS:
        names = None
    return "function", names


def load(code, handler):
    code = os.path.abspath(code)
    try:
        os.chdir(code)
    except OSError:
        pass
    set_path(code)
    module_name, name = locate(code, handler)
    try:
        __import__(module_name)
        module = sys.modules[module_name]
        fn = pick(module, name)
        kind, names = shape(fn)
        return Handler(kind, fn, names, module)
    except LoadError:
        raise
    except BaseException as err:
        text = str(err).split("\n", 1)[0]
        message = f"{type(err).__name__}: {text}" if text else type(err).__name__
        raise LoadError("import", message, traceback_of(err)) from None
