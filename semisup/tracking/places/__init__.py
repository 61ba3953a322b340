"""Where a store lies, how it is reached, and that it may have been moved."""
