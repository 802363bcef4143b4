"""Deep-learning segmentation of the proximal femur in MR images, after Deniz et al. 2018.

A chapter to read from top to bottom:

1. ``volumes``        files in and out; a stack's axes
2. ``cohort``         scans, masks and whose they are; folds by patient
3. ``preprocessing``  what a network sees of a scan, and the way back
4. ``augmentation``   making more of few scans
5. ``architecture``   what a network is: its name, its sizes, what it sees and costs
6. ``unet``           the networks in Keras
7. ``losses``         Eq. 1 and its relatives
8. ``config``         profiles and recipes, resolved once
9. ``dataset``        from subjects to batches
10. ``inference``     nine patches; from scan to probability to mask
11. ``runs``          a training's folder and its record
12. ``training``      fit, stop, keep, resume (with ``callbacks``)
13. ``evaluation``    predict a cohort, score it, and doubt its choices

Around it: ``metrics`` and ``plotting``; ``phantom`` (the synthetic hips), ``paper`` (its tables, figures and study),
``lab`` (imports, export, measures, quality), ``course`` (what only the notebooks need) and ``cli`` (the command line).
"""

from femur_lib._runtime.machine import set_environment

__version__ = "0.1.0"

set_environment()  # before a backend starts
