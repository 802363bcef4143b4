"""The paper: what it printed, and the same from our runs: its tables, its figures and its whole study."""
