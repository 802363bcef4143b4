"""What only the notebooks need: their workspace, exercises, widgets and views."""

import sys


def show_figures_inline() -> None:
    """Ask for figures in the notebook, if this is a notebook's kernel that would not show them.

    The environment of clusters and hubs often says MPLBACKEND=agg. The kernel then obeys it, and shows no figure.
    """
    from IPython import get_ipython  # only here: a study imports this package, too, and is no notebook

    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return
    import matplotlib

    shown = ("inline", "ipympl", "widget", "nbagg", "notebook")
    if not any(name in matplotlib.get_backend().lower() for name in shown):
        shell.run_line_magic("matplotlib", "inline")


if "ipykernel" in sys.modules:
    show_figures_inline()
