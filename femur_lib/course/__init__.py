"""What only the notebooks need: their workspace, exercises, widgets and views."""
