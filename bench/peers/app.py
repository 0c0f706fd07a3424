"""What every server of the suite answers, for WSGI."""
import os
import time

if os.path.exists(os.environ.get("BENCH_BROKEN", "")):
    raise RuntimeError("this build is broken")

with open(os.environ["BENCH_JSON"], "rb") as file:
    JSON = file.read()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body, kind = b"hello", "text/plain"
    if environ["REQUEST_METHOD"] == "POST":
        body = str(len(environ["wsgi.input"].read())).encode()
    elif path == "/pid":
        body = str(os.getpid()).encode()
    elif path == "/json":
        body, kind = JSON, "application/json"
    elif path == "/cpu":
        end = time.monotonic() + 0.001
        while time.monotonic() < end:
            pass
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
