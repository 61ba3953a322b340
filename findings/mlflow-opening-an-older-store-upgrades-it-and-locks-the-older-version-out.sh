#!/usr/bin/env bash
# MLflow says of a database with an older schema that one should take a backup and run `mlflow db upgrade`. Where the newer version has a table more, it does not say so: the first client that
# opens the database changes it in place, and the older version, which made it, refuses it from then on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
for version in 3.16.1 3.17.2; do
    venv/bin/uv venv --quiet --python venv/bin/python "$version"
    venv/bin/uv pip install --quiet --system-certs --python "$version/bin/python" "mlflow==$version"
done
export MLFLOW_DISABLE_TELEMETRY=true
cat > look.py <<'PY'
import sqlite3

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

try:
    names = [experiment.name for experiment in MlflowClient("sqlite:///store.db").search_experiments()]
    said = f"sees {len(names)} experiment"
except MlflowException as error:
    said = str(error).split(". ")[0]
((schema,),) = sqlite3.connect("store.db").execute("SELECT version_num FROM alembic_version")
print(f"mlflow {mlflow.__version__} {said}; the schema is {schema}")
PY
for version in 3.16.1 3.17.2 3.16.1; do "$version/bin/python" look.py 2>/dev/null; done | tee said
[ "$(grep -c 'sees 1 experiment' said)" = 2 ] && tail -1 said | grep -q '3.16.1 Detected out-of-date database schema' || {
    echo "changed: the older version can still open the store, or the newer one asks first"
    exit 1
}
