"""Arguments and options that several commands have."""

from typing import Annotated

import typer

ConfigName = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a ready-made config (`semisup configs`).")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
]
Cron = Annotated[
    str | None,
    typer.Option(metavar="CRON", help="When to run the pipeline, such as '0 3 * * *' or @daily; else by hand only."),
]
TimeZone = Annotated[str, typer.Option(metavar="ZONE", help="Time zone of --cron, an IANA name.")]
DeploymentName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the deployments; unset: the name of the config.")
]
Force = Annotated[
    list[str] | None,
    typer.Option("--force", metavar="STAGE", help="Run this stage anew, and what then is stale; may be repeated."),
]
RunId = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Id of a run, or its beginning (`semisup runs`); or a config: its newest complete pipeline."
    ),
]
NewestRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="Id of a run, or its beginning, or a config, whose newest pipeline it is; unset: the newest of all.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
