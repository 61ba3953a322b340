"""MLflow: where runs are kept, found again and watched. The only place that imports mlflow.

Runs are written through the client with explicit run ids; MLflow's notion of an "active run" is never used, so several
pipelines may run in one process.
"""

import os

# Before MLflow is imported anywhere in this package.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for every file fetched from afar
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for the result
