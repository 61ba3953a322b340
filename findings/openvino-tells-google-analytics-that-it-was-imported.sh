#!/usr/bin/env bash
# `import openvino` asks nobody: with a home folder that has never seen it, the import alone queues a message to Google Analytics ("ov", "import"), and leaves a client id in ~/intel. Where the package openvino_telemetry
# cannot be imported, OpenVINO works as well and sends nothing. Here messages are caught before they leave.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "openvino==2026.4.1" "openvino-telemetry==2025.2.0"
cat > import_it.py <<'PY'
import sys
import time
from pathlib import Path
from urllib import request

caught = Path("caught.txt")  # messages are sent by a process of their own


def urlopen(asked, *rest, **options):
    with caught.open("a") as file:
        file.write(asked.full_url.partition("?")[0] + "\n")


caught.write_text("")
request.urlopen = urlopen
if sys.argv[1] == "without telemetry":
    sys.modules["openvino_telemetry"] = None

import openvino

deadline = time.monotonic() + 10
while not caught.read_text() and time.monotonic() < deadline and sys.argv[1] == "as it comes":
    time.sleep(0.1)
left = sorted(path.name for path in Path.home().rglob("*") if path.is_file())
print(f"openvino {openvino.__version__}, {sys.argv[1]}: messages to {set(caught.read_text().split()) or 'nobody'}; left in the home folder: {left or 'nothing'}")
told = "google-analytics.com" in caught.read_text()
sys.exit(told != (sys.argv[1] == "as it comes"))
PY
for how in "as it comes" "without telemetry"; do
    mkdir "home of $how"
    env -i PATH="$PATH" HOME="$folder/home of $how" venv/bin/python import_it.py "$how" || { echo "changed: $how"; exit 1; }
done
