#!/usr/bin/env bash
# Confidences are kept as float32 and compared with 0.95. pandas, polars and DuckDB round the threshold to float32 and accept a confidence of 19/20;
# pyarrow widens the confidence to float64, where it is 0.94999999, and refuses it. So pandas itself keeps one row more after reading than while reading.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "pyarrow==26.0.1" "pandas==3.1.1" "polars==2.1.0" "duckdb==2.0.1" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

votes = np.arange(21, dtype="float32") / np.float32(20)  # the shares that 20 votes can have
pq.write_table(pa.table({"confidence": votes}), "table.parquet")


def rows_kept(threshold: float) -> dict[str, int]:
    """Rows with a confidence of at least the threshold, as each library counts them."""
    table = pd.read_parquet("table.parquet")
    wanted = [("confidence", ">=", threshold)]
    return {
        "numpy": int((votes >= threshold).sum()),
        "pandas, after reading": int((table["confidence"] >= threshold).sum()),
        "pandas, filters=": len(pd.read_parquet("table.parquet", filters=wanted)),
        "pyarrow, filters=": pq.read_table("table.parquet", filters=wanted).num_rows,
        "polars": pl.scan_parquet("table.parquet").filter(pl.col("confidence") >= threshold).collect().height,
        "duckdb": duckdb.sql(f"select count(*) from 'table.parquet' where confidence >= {threshold}").fetchall()[0][0],
    }


print(f"pyarrow {pa.__version__}, pandas {pd.__version__}, polars {pl.__version__}, duckdb {duckdb.__version__}")
changed = False
for threshold, expected, fewer in ((0.95, 2, 1), (0.9, 3, 2), (0.7, 7, 6)):
    kept = rows_kept(threshold)
    print(f"{threshold}: {kept}")
    widened = {name for name, count in kept.items() if count == fewer}
    rounded = {name for name, count in kept.items() if count == expected}
    changed |= widened != {"pandas, filters=", "pyarrow, filters="} or len(rounded) != 4
sys.exit("changed: they no longer disagree as they did" if changed else 0)
PY
