"""How a classifier learns: step by step from a recipe, or from vectors without steps."""
