"""Networks: our own, those with pretrained weights, and where their weights come from."""
