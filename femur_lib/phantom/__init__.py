"""Synthetic hips: a parametric proximal femur and its surroundings, imaged by the FLASH signal equation.

The whole course runs on them without a download, and they are the only hips whose true geometry is known. Results on
them show whether a method works and how methods compare; they are never results on patients.

Read them in this order:

* ``parameters``: every number in which two scans can differ, and the knobs of difficulty
* ``tissue``: how bright each tissue is
* ``shapes``, ``femur``, ``surroundings``: bones, muscles and skin as distances to their surfaces
* ``subject``: draws the women of a cohort, 36 of every 86 with a fracture
* ``field``, ``texture``: from a coarse grid to pixels; the strands of marrow and muscle
* ``body``, ``painting``: one woman laid out in the field of view, and her slices painted, with labels
* ``scanner``: coils, chemical shift, fold-over, ringing and noise, one after another
* ``cohort``: many women, made side by side and written to disk
"""
