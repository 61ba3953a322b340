"""What may go wrong: crashes, damaged files, absurd configs, other versions of Python and of packages."""
