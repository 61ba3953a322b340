"""What every command does before its flow runs: config, Prefect's server, display, exit statuses."""
