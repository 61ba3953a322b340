#!/usr/bin/env bash
# Given a folder, pyarrow (and pandas upon it) passes over all files and folders whose names begin with an underscore or a dot, without a word: the shard _unlabeled/part.parquet is not read.
# DuckDB and polars read it. Row counts differ by the library.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "pyarrow==26.0.1" "pandas==3.1.1" "polars==2.1.0" "duckdb==2.0.1"
venv/bin/python - <<'PY'
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

print(f"pyarrow {pa.__version__}, pandas {pd.__version__}, polars {pl.__version__}, duckdb {duckdb.__version__}")
for place in ("features/cat", "features/dog", "features/_unlabeled"):
    Path(place).mkdir(parents=True)
    pq.write_table(pa.table({"row": range(10)}), f"{place}/part.parquet")
rows = {
    "pyarrow": pq.read_table("features").num_rows,
    "pandas": len(pd.read_parquet("features")),
    "polars": pl.read_parquet("features").height,
    "duckdb": duckdb.sql("select count(*) from 'features/**/*.parquet'").fetchall()[0][0],
}
print("rows of 30:", rows)
sys.exit("changed: other rows are read" if rows != {"pyarrow": 20, "pandas": 20, "polars": 30, "duckdb": 30} else 0)
PY
