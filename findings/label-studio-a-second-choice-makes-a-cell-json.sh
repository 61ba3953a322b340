#!/usr/bin/env bash
# A project whose configuration allows several choices exports one choice as a plain text and two as an object, row by row, in JSON_MIN and in CSV. A table of one column holds class names
# and JSON texts, and a project is read well until somebody ticks a second box.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "label-studio-sdk==2.1.2"
venv/bin/python - <<'PY'
import json
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter

print("label-studio-sdk", version("label-studio-sdk"))

config = """<View><Image name="image" value="$image"/>
<Choices name="label" toName="image" choice="multiple"><Choice value="cat"/><Choice value="dog"/></Choices></View>"""
tasks = [
    {
        "id": number,
        "data": {"image": f"{number}.jpg"},
        "annotations": [
            {
                "id": number,
                "completed_by": 1,
                "result": [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": chosen}}],
            }
        ],
    }
    for number, chosen in enumerate((["cat"], ["cat", "dog"]), start=1)
]
Path("tasks").mkdir()
Path("tasks/tasks.json").write_text(json.dumps(tasks))
converter = Converter(config, "tasks", download_resources=False)
converter.convert("tasks", "exported", "JSON_MIN")
labels = [row["label"] for row in json.loads(Path("exported/result.json").read_text())]
converter.convert("tasks", "table", "CSV")
table = Path("table/result.csv").read_text()
print("JSON_MIN:", labels)
print("CSV:", table, sep="\n")
right = labels == ["cat", {"choices": ["cat", "dog"]}] and '"cat"' in table and '""choices""' in table
sys.exit(0 if right else "changed: one choice and several look alike")
PY
