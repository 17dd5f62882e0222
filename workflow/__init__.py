"""What the Snakefile is made of, and what its rules run."""
