#!/bin/sh
# Measures how much of virtio, vhostuser, offload and queues, without the
# packages that only serve tests, is covered by their unit tests: cover.sh [MINIMUM]
# Fails below MINIMUM per cent.
set -eu
minimum=${1:-85}
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
status=0
for folder in virtio vhostuser offload queues; do
	covered=$(go list "./$folder/..." | grep -v -e /vringtest -e /frontendtest -e /frametest -e /bochs | paste -sd, -)
	go test -coverpkg="$covered" -coverprofile="$out/$folder" "./$folder/..." >"$out/log" || {
		cat "$out/log"
		exit 1
	}
	go tool cover -func="$out/$folder" | awk -v folder="$folder" -v minimum="$minimum" '
		$1 == "total:" {
			sub("%", "", $3)
			printf "%-10s %5.1f %% of statements, want %s\n", folder, $3, minimum
			exit ($3 < minimum)
		}' || status=1
done
exit $status
