"""A plain server of the web on this machine, for the files of a folder."""

import hashlib
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class Web:
    """What it serves, and how it fails."""

    root: Path
    says: frozenset[str] = frozenset({"ETag"})
    """What it tells of versions: ETag, Last-Modified, or nothing."""
    password: str = ""
    """What `owner` has to give."""
    busy: int = 0
    """Requests yet to be answered by "503"."""
    silent: int = 0
    """Requests yet to be answered by nothing at all, until `over`."""
    over: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def bodies(self) -> list[str]:
        """Paths of all files that were sent."""
        return [line.removeprefix("GET ") for line in self.asked if line.startswith("GET ")]

    @contextmanager
    def serving(self) -> Iterator["Web"]:
        """Meanwhile it is at its address."""
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                web.asked.append(f"{self.command} {unquote(self.path)}")
                if web.silent:
                    web.silent -= 1
                    web.over.wait()
                    return
                if web.busy:
                    web.busy -= 1
                    self.send_error(503)
                    return
                wanted = "Basic " + b64encode(f"owner:{web.password}".encode()).decode()
                if web.password and self.headers.get("Authorization") != wanted:
                    self.send_error(401)
                    return
                file = web.root / unquote(self.path).lstrip("/")
                if not file.is_file():
                    self.send_error(404)
                    return
                content = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                if "ETag" in web.says:
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:16]}"')
                if "Last-Modified" in web.says:
                    self.send_header("Last-Modified", formatdate(file.stat().st_mtime, usegmt=True))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET  # noqa: N815 -- the name that the base class looks for

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            self.address = f"http://127.0.0.1:{server.server_address[1]}"
            try:
                yield self
            finally:
                self.over.set()
                server.shutdown()
                thread.join()
