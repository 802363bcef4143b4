#!/usr/bin/env bash
# A class on one machine: one checkout that only root may change, and learners who execute its notebooks at once.
#
#     sudo bash benchmarks/shared_course.sh PLACE [LEARNERS [FIRST-LAST]]
#
# PLACE is a new folder that everybody may read, such as /srv/class, with room for a clone, its .venv (3 GB) and the
# learners' homes. Without further words there are three learners and the notebooks 0-5. Each learner is a user without a
# name or rights (60001, 60002 ...), with a home of her own and, to make it harder, a kernel "python3" of her own that
# does not start. What she types is `make run` (docs/install.md, "A shared course"). Written at the end: PLACE/class.csv,
# and whether anything was written in the checkout or in another's home.
set -euo pipefail

place=$(realpath -m "$1"); learners=${2:-3}; course=$place/course
notebooks=$(cd "$(dirname "$0")/.." && ls notebooks | grep "^0[${3:-0-5}]_" | tr '\n' ' ')

mkdir -p "$place"
[ -d "$course" ] || git clone --quiet --no-hardlinks "$(dirname "$0")/.." "$course"
make -C "$course" setup
"$course/.venv/bin/python" -m compileall -q "$course/femur_lib"  # nobody can keep what is compiled later
chown -R root:root "$course"
chmod -R a-w,a+rX "$course"

listing() { find "$course" -printf '%P %s %T@ %U %m\n' | sort; }

learn() {  # one learner: her seconds, her peak memory and how it ended
  local user=$1 home=$place/home-$1 begun=$SECONDS peak=0 held ended=0 kernels
  install -d -o "$user" -g "$user" -m 700 "$home"
  kernels=$home/.local/share/jupyter/kernels/python3
  install -d -o "$user" -g "$user" "$home/.local" "$home/.local/share" "$home/.local/share/jupyter" "${kernels%/*}" "$kernels"
  echo '{"argv": ["/nowhere/python", "-f", "{connection_file}"], "display_name": "mine"}' > "$kernels/kernel.json"
  setpriv --reuid="$user" --regid="$user" --clear-groups env -i HOME="$home" PATH=/usr/bin:/bin LANG=C.UTF-8 \
    make -C "$course" run NOTEBOOKS="$notebooks" > "$place/log-$user" 2>&1 &
  local process=$!
  while kill -0 "$process" 2> /dev/null; do
    held=$(ps -o rss= -u "$user" | awk '{ s += $1 } END { print int(s / 1000) }')
    [ "$held" -gt "$peak" ] && peak=$held
    sleep 1
  done
  wait "$process" || ended=$?
  echo "$user,$((SECONDS - begun)),$peak,$(ls "$home"/hip-course/runs/quick/notebooks/*.ipynb 2> /dev/null | wc -l),$ended" \
    >> "$place/class.csv"
}

listing > "$place/before"
echo "learner,seconds,peak_mb,notebooks,exit_code" > "$place/class.csv"
for n in $(seq "$learners"); do learn "$((60000 + n))" & done
wait
listing > "$place/after"

cat "$place/class.csv"
cmp "$place/before" "$place/after" && echo "Nothing was written in the checkout."
for n in $(seq "$learners"); do
  others=$(find "$place/home-$((60000 + n))" ! -user "$((60000 + n))" ! -name kernel.json | wc -l)
  echo "Files of others in the home of $((60000 + n)): $others"
done
find /tmp /var/tmp /dev/shm -newer "$place/before" -path "$place" -prune -o -uid +60000 -uid -60100 -print 2> /dev/null |
  sed 's/^/Left elsewhere: /'
