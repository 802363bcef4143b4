"""Synthetic hips: a parametric proximal femur in its surroundings, imaged by the FLASH signal equation.

Everything runs on them without a download, and they are the only hips whose true geometry is known. Results on them
say whether a method works and how methods compare; they are never results on patients.

* ``parameters`` names every number that makes one scan differ from another, and the knobs of difficulty;
* ``subject`` draws them: 86 women, 36 with a fracture;
* ``shapes``, ``femur`` and ``surroundings`` turn them into distances to surfaces, ``field`` carries these to pixels;
* ``tissue`` says how bright each tissue is, ``texture`` gives marrow and muscle their strands;
* ``body`` lays a subject out, ``painting`` paints her slices on a ``canvas``, fat and water apart, ``bones`` among
  them with their labels;
* ``scanner`` adds coils, chemical shift, fold-over, ringing and noise, and takes a scan apart for looking at;
* ``cohort`` makes many, side by side, and writes them to disk.
"""
