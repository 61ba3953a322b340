"""What stages do about unlabeled images that are not like the labeled ones."""
