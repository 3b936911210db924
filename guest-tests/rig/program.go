package rig

import (
	"os"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/initramfs"
)

// withProgram adds a program of this module to guests that are not booted yet.
func withProgram(t harness.T, pkg, path string, guests []harness.Guest) {
	t.Helper()
	built, err := harness.Lab(t).GoBuild(t.Context(), pkg, "-ldflags=-s -w")
	if err != nil {
		t.Fatalf("%v", err)
	}
	data, err := os.ReadFile(built)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for i := range guests {
		guests[i].Files = append(guests[i].Files, initramfs.File{Name: path, Mode: 0o755, Data: data})
	}
}
