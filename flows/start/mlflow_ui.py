"""How MLflow's own server is started for the store of a folder."""

import os
import socket
import sys
from pathlib import Path

from semisup.errors import UserError
from semisup.tracking.looking import look
from semisup.tracking.places.pages import FOR_TRAINING
from semisup.tracking.places.store import is_server, sqlite_path, store_uri


def command(folder: Path, port: int) -> list[str]:
    """The command line that serves the store on the loopback address.

    Raises:
        UserError: there is no store, it is on a server that has pages of its own, or the port is taken.
    """
    uri = store_uri(folder)
    if is_server(uri):
        raise UserError("MLFLOW_TRACKING_URI names a server, which has pages of its own; open its address in a browser")
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        raise UserError(f"there is no MLflow store in {str(folder)!r}; run `semisup run digits` here first")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"--port {port} is in use; choose another one with --port")
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # six more processes, for evaluations of text
    os.environ.setdefault("PYTHONWARNINGS", "ignore:starlette.middleware.wsgi is deprecated")  # MLflow's to mend
    server = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    return [*server, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def first_page(folder: Path, port: int) -> str:
    """Address of the newest pipeline's table of runs; where none has run yet, of all experiments.

    Raises:
        UserError: the store cannot be read.
    """
    pages, store = f"http://127.0.0.1:{port}", look(folder)
    with store.failures():
        newest = store.search("tags.stage = 'pipeline'", limit=1)
        return store.table(newest[0].experiment_id, pages) if newest else f"{pages}/#/experiments?{FOR_TRAINING}"
