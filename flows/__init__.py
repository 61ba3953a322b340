"""Prefect flows and the command line. The settings below must stand before Prefect and MLflow are imported."""

import os

from semisup.tracking.places.redaction import redact_everything

_DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The in-process API needs 12–40 s on a small machine; Prefect gives up after 20 by default.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # A store that does not answer shall be reported within seconds, not after minutes of silent retries.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
redact_everything()
