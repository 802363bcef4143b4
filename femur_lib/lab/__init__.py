"""For a laboratory: scans in, networks out, measures, quality control, reports, search."""
