"""What commands look up in a store of finished runs, or write from it."""
