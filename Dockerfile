# The course on a CPU, for one person:
#
#     docker build -t hips . && docker run --rm -p 8888:8888 hips
#
# prints an address that begins with http://127.0.0.1:8888; open it in a browser. What you make is gone when the
# container ends, unless you keep two folders:
#
#     -v hips-runs:/home/learner/course/runs -v hips-exercises:/home/learner/course/exercises
#
# For a class: compose.yaml.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 learner
USER learner
RUN mkdir /home/learner/course
WORKDIR /home/learner/course
ENV PATH=/home/learner/venv/bin:$PATH

# First what changes seldom, so that a changed notebook does not install everything anew.
COPY --chown=learner requirements.lock .
RUN python -m venv /home/learner/venv \
 && python -m pip install --no-cache-dir --quiet --require-hashes -r requirements.lock

COPY --chown=learner . .
RUN python -m pip install --no-cache-dir --quiet --no-deps --no-build-isolation -e . \
 && mkdir -p runs exercises

EXPOSE 8888
# The exercises are written at each start: a volume may hold those of an older image. What a learner has changed is kept.
CMD ["sh", "-c", "python teaching/build_exercises.py; exec jupyter lab --ip=0.0.0.0 --port=8888 --no-browser --LabApp.default_url=/lab/tree/exercises"]
