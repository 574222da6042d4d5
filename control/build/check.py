import json, os, sys, warnings
warnings.simplefilter("ignore")
for folder, folders, files in os.walk("."):
    folders[:] = sorted(d for d in folders if d not in ("node_modules", ".hearth", "__pycache__"))
    for name in sorted(files):
        if not name.endswith(".py"):
            continue
        path = os.path.relpath(os.path.join(folder, name), ".")
        try:
            with open(path, "rb") as f:
                compile(f.read(), path, "exec", dont_inherit=True)
        except SyntaxError as e:
            text = (e.text or "").rstrip("\r\n")
            print(json.dumps({"File": path.replace(os.sep, "/"), "Line": e.lineno or 0, "Col": max(e.offset or 0, 0),
                              "Text": text, "Message": str(e.msg).replace("\n", " ")}))
        except (ValueError, OSError, RecursionError, MemoryError) as e:
            print(json.dumps({"File": path.replace(os.sep, "/"), "Line": 0, "Col": 0, "Text": "", "Message": str(e) or type(e).__name__}))
