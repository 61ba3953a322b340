#!/usr/bin/env bash
# s3fs remembers a listing for as long as the process lives, in every file system object with the same arguments. A photograph that another process puts into the bucket later does not exist for ls, exists and glob, but find sees it: two
# ways to list one folder, two answers. use_listings_cache=False is the way out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "s3fs==2026.9.0" "moto[server]==5.2.5"
venv/bin/python - <<'PY'
import logging
import sys
from importlib.metadata import version

import boto3
import s3fs
from moto.server import ThreadedMotoServer

print("s3fs", version("s3fs"), "moto", version("moto"))
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
place = {"endpoint_url": f"http://{host}:{port}"}
keys = {"key": "example", "secret": "example"}
other = boto3.client("s3", region_name="us-east-1", aws_access_key_id="example", aws_secret_access_key="example", **place)
other.create_bucket(Bucket="pool")
other.put_object(Bucket="pool", Key="unlabeled/1.png", Body=b"1")
listed = s3fs.S3FileSystem(**keys, client_kwargs=place)
listed.ls("pool/unlabeled")
other.put_object(Bucket="pool", Key="unlabeled/2.png", Body=b"2")


def ask(files: s3fs.S3FileSystem) -> dict[str, object]:
    """What there is, asked in four ways."""
    return {
        "ls": len(files.ls("pool/unlabeled")),
        "glob": len(files.glob("pool/unlabeled/*.png")),
        "exists": files.exists("pool/unlabeled/2.png"),
        "find": len(files.find("pool/unlabeled")),
    }


again = ask(s3fs.S3FileSystem(**keys, client_kwargs=place))
fresh = ask(s3fs.S3FileSystem(**keys, client_kwargs=place, use_listings_cache=False))
server.stop()
print("a second image was put there after the first ls:", again)
print("use_listings_cache=False:", fresh)
right = again == {"ls": 1, "glob": 1, "exists": False, "find": 2} and fresh == {"ls": 2, "glob": 2, "exists": True, "find": 2}
sys.exit(0 if right else "changed: other images are seen")
PY
