"""Importers: from something public, or from your own folder, to a cohort on disk."""
