"""Artifacts in Prefect's pages: a courtesy. A Prefect server that loses one must not cost a trained model."""

from collections.abc import Callable


def publish_link(key: str, link: str, text: str, description: str) -> None:
    """A link on the page of the current task run; nothing where there is none."""
    from prefect.artifacts import create_link_artifact

    _publish(key, lambda: create_link_artifact(key=key, link=link, link_text=text, description=description))


def publish_markdown(key: str, markdown: str, description: str) -> None:
    """A page of text on the page of the current flow run; nothing where there is none."""
    from prefect.artifacts import create_markdown_artifact

    _publish(key, lambda: create_markdown_artifact(key=key, markdown=markdown, description=description))


def _publish(key: str, create: Callable[[], object]) -> None:
    from prefect.context import FlowRunContext, TaskRunContext
    from prefect.logging import get_run_logger

    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return
    try:
        create()
    except Exception as error:
        get_run_logger().warning("Prefect artifact %s was not published: %s", key, error)
