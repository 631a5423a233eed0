"""A server of one file, for downloads."""

import contextlib
import http.server
import threading


class Server(http.server.HTTPServer):
    """Serves `content` under every path, from where a Range asks it to; remembers what was asked."""

    def __init__(self, handler):
        super().__init__(("localhost", 0), handler)
        self.asked: list[str | None] = []
        self.content, self.lost_after = b"", None


@contextlib.contextmanager
def serve(content: bytes = b""):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            server.asked.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(server.content) - start))
            self.end_headers()
            self.wfile.write(server.content[start : server.lost_after])

        def log_message(self, *_):
            pass

    server = Server(Handler)
    server.content = content
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
