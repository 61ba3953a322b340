"""Images that lie together in few files: tars, Parquet, arrays; and those that a JSON file of another tool lists."""
