"""Synthetic hips: a parametric proximal femur in its surroundings, imaged by the FLASH signal equation.

A first, simple cohort, so that everything runs without a download and against a truth that is known exactly. Shapes
are simple and numbers few; results on these hips say whether the code works, never how well it would do on patients.

* ``anatomy`` draws a hip's shape parameters and gives the distance of every point to its surfaces;
* ``tissue`` says how bright each tissue is;
* ``scanner`` turns both into a scan: partial volume, coil sensitivity, noise;
* ``cohort`` makes many and writes them as a cohort on disk.
"""
