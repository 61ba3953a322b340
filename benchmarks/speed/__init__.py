"""What computing takes: steps, passes over a pool, networks' answers, several processes, a GPU."""
