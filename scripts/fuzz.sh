#!/bin/sh
# Runs every fuzz target of the module for the time given: fuzz.sh [10s]
set -eu
time=${1:-10s}
cd "$(dirname "$0")/.."
for pkg in $(go list ./...); do
	dir=./${pkg#vhost-user-nvgre/}
	for target in $(go test -list '^Fuzz' "$dir" | grep '^Fuzz' || true); do
		echo "fuzzing $target in $dir for $time"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir"
	done
done
