"""What is learned from few labels: recipes and methods beside scikit-learn's, over seeds and splits."""
