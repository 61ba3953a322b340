#!/usr/bin/env bash
# WebDataset takes a name up to its first dot for the key of a sample. Its own writer accepts the keys photo_0.5 and photo_0.7; its reader finds one sample photo_0 with the fields 5.png and 7.png, and none called png. Photographs named
# by a score, a version or a time lose all but the first of their kind.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "webdataset==1.0.2" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import webdataset

print("webdataset", version("webdataset"))
keys = ["photo_0.5", "photo_0.7", "photo_1"]
with webdataset.TarWriter("shard.tar") as writer:
    for number, key in enumerate(keys):
        writer.write({"__key__": key, "txt": key, "cls": number})
samples = webdataset.WebDataset("shard.tar", shardshuffle=False)
seen = [(sample["__key__"], sorted(field for field in sample if not field.startswith("_"))) for sample in samples]
print("written:", keys)
print("read:", seen)
expected = [("photo_0", ["5.cls", "5.txt", "7.cls", "7.txt"]), ("photo_1", ["cls", "txt"])]
sys.exit("changed: other samples are read" if seen != expected else 0)
PY
