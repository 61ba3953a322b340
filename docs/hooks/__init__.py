"""What mkdocs calls while it builds the site: parts of pages that are made from the code and from measured results."""
