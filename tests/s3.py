"""A real S3 server on this machine, of a process of its own, and one in front of it that fails now and then."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.waiting import LONG


@contextmanager
def serving(log: Path) -> Iterator[str]:
    """The address of moto's server, which ends at the end."""
    port = free_port()
    with log.open("wb") as out:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            until = time.monotonic() + LONG
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    assert time.monotonic() < until, log.read_text()
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


@dataclass
class S3:
    """A server, for one test."""

    address: str
    client: Any
    """boto3's."""

    def put(self, folder: Path, bucket: str, prefix: str = "") -> str:
        """All files of a folder, in a new bucket; the URL."""
        self.client.create_bucket(Bucket=bucket)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = "/".join(filter(None, (prefix, path.relative_to(folder).as_posix())))
                self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        return f"s3://{bucket}/{prefix}".rstrip("/")

    def clear(self) -> None:
        """Everything goes, and every key is good."""
        for path, body in (("reset", b""), ("reset-auth", b"inf")):
            self._moto(path, body)

    def _moto(self, path: str, body: bytes) -> None:
        plain = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/moto-api/{path}", body, plain)).close()

    def guard(self) -> tuple[str, str]:
        """From now on only this key (id, secret) is good."""
        import boto3

        iam = boto3.client("iam", region_name="us-east-1", endpoint_url=self.address)
        iam.create_user(UserName="owner")
        policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
        iam.put_user_policy(UserName="owner", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="owner")["AccessKey"]
        iam.close()
        self._moto("reset-auth", b"0")
        return key["AccessKeyId"], key["SecretAccessKey"]


def environment(address: str, home: Path) -> dict[str, str]:
    """Of somebody whose credentials are in the environment alone."""
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": address,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(home / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
    }


@contextmanager
def a_test_with(address: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[S3]:
    """An empty server, and the environment of whoever may use it."""
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(address, home).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    server = S3(address, client)
    server.clear()
    try:
        yield server
    finally:
        client.close()


@dataclass
class Between:
    """What stands between a client and the server: it lets requests through, once it has refused some."""

    server: str
    refusals: int
    """Answers that are "503 Slow Down" at first."""
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def __call__(self) -> Iterator[str]:
        """Its address."""
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                between.asked.append(f"{self.command} {self.path}")
                if len(between.asked) <= between.refusals:
                    self.send_error(503, "Slow Down")
                    return
                request = urllib.request.Request(between.server + self.path, headers=dict(self.headers))
                request.method = self.command
                try:
                    answer = urllib.request.urlopen(request)
                except urllib.error.HTTPError as error:
                    answer = error
                with answer:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        if name.lower() not in {"server", "date", "connection"}:
                            self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(answer.read())

            do_HEAD = do_GET  # noqa: N815 -- the name that the base class looks for

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as front:
            thread = threading.Thread(target=front.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{front.server_address[1]}"
            finally:
                front.shutdown()
                thread.join()
