"""What a command takes as a whole: the wait before anything happens, memory at its peak, commands that only look."""
