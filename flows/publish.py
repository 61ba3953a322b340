"""Artifacts in Prefect's pages: a courtesy. A Prefect server that loses one must not cost a trained model."""


def publish_link(key: str, link: str, text: str, description: str) -> None:
    """A link on the page of the current task run."""
    from prefect.artifacts import create_link_artifact

    try:
        create_link_artifact(key=key, link=link, link_text=text, description=description)
    except Exception as error:
        _not_published(key, error)


def publish_markdown(key: str, markdown: str, description: str) -> None:
    """A page of text on the page of the current flow run."""
    from prefect.artifacts import create_markdown_artifact

    try:
        create_markdown_artifact(key=key, markdown=markdown, description=description)
    except Exception as error:
        _not_published(key, error)


def _not_published(key: str, error: Exception) -> None:
    from prefect.logging import get_run_logger

    get_run_logger().warning("Prefect artifact %s was not published: %s", key, error)
