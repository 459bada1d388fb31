#!/bin/sh
# The interpreters of this machine that otel-events promises: a line each, "3.12 /path/to/python3.12".
#   sh scripts/pythons.sh            all that are found: on the PATH, else under pyenv
#   sh scripts/pythons.sh --named    with those that are too old, for a message: "python3 is 3.9.2"
# Each is run, so that a name which only leads to an error (a shim of pyenv's) is none.

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

if [ "${1:-}" = --named ]; then
  for name in python3 python python3.10 python3.9 python3.8; do
    is=$("$name" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) && echo "$name is $is"
  done
  exit 0
fi

for wanted in 3.11 3.12 3.13; do
  for name in "python$wanted" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$wanted".*/bin/python python3; do
    [ "$(version "$name")" = "$wanted" ] || continue
    echo "$wanted $("$name" -c 'import sys; print(sys.executable)')"
    break
  done
done
