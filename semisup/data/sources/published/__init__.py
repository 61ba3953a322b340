"""Published data sets by their names: small files of images with labels."""
