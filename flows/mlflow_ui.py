"""How MLflow's own server is started for the store of a folder."""

import os
import socket
import sys
from pathlib import Path

from semisup.errors import UserError

DATABASE = "mlflow.db"


def command(folder: Path, port: int) -> list[str]:
    """The command line that serves the store on the loopback address.

    Raises:
        UserError: there is no store, it is on a server that has pages of its own, or the port is taken.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / DATABASE}"
    if uri.startswith(("http://", "https://")):
        raise UserError("MLFLOW_TRACKING_URI names a server, which has pages of its own; open its address in a browser")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(f"there is no MLflow store in {str(folder)!r}; run `semisup run digits` here first")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"--port {port} is in use; choose another one with --port")
    server = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    return [*server, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
