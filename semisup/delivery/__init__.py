"""What people take away: predictions for any images, and pseudo-labels as a data set for other tools."""
