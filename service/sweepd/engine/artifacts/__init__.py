"""Artifacts: versioned sets of files, who made and used them, and the names that lead to them."""
