"""What `import semisup as ss` offers: a classifier for scikit-learn, data sets, and pipelines as plain functions."""
