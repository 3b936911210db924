package lab

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// makeDeb builds a package with one file.
func makeDeb(t *testing.T, name, version, file, contents string) string {
	t.Helper()
	tree := t.TempDir()
	for path, text := range map[string]string{
		"DEBIAN/control": "Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\nDescription: test\n",
		file:             contents,
	} {
		p := filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(t.TempDir(), name+"_"+version+"_amd64.deb")
	if out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb --build: %v\n%s", err, out)
	}
	return deb
}

func TestUnpack(t *testing.T) {
	debs := []string{
		makeDeb(t, "one", "1.0-1", "usr/bin/one", "1"),
		makeDeb(t, "two", "2.0", "usr/share/doc/two/copyright", "text"),
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := unpack(t.Context(), debs, root); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "usr/bin/one")); err != nil || string(b) != "1" {
		t.Errorf("usr/bin/one = %q, %v, want 1", b, err)
	}
	if isDir(filepath.Join(root, "usr/share/doc")) {
		t.Error("usr/share/doc was not pruned")
	}
	if v, err := packageVersion(root, "one"); err != nil || v != "1.0-1" {
		t.Errorf("packageVersion(one) = %s, %v, want 1.0-1", v, err)
	}
	if v, err := packageVersion(root, "three"); err == nil {
		t.Errorf("packageVersion(three) = %s, want an error", v)
	}
	bad := filepath.Join(t.TempDir(), "bad_1_amd64.deb")
	if err := os.WriteFile(bad, []byte("no package"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unpack(t.Context(), []string{bad}, root); err == nil {
		t.Error("unpack() of a file that is no package = nil error")
	}
}

// bzImage makes an image with the setup header's fields in place.
func bzImage(setupSectors byte, offset, length uint32, payload string) []byte {
	start := (int(setupSectors) + 1) * bootSector
	if setupSectors == 0 {
		start = 5 * bootSector
	}
	b := make([]byte, start+16)
	copy(b[bootMagic:], "HdrS")
	b[bootSetupSectors] = setupSectors
	binary.LittleEndian.PutUint32(b[bootPayloadOffset:], offset)
	binary.LittleEndian.PutUint32(b[bootPayloadLength:], length)
	return append(b, payload...)
}

func TestBootPayload(t *testing.T) {
	for _, setup := range []byte{0, 1, 39} {
		payload, size, err := bootPayload(bzImage(setup, 16, 11, "kernel!\x2a\x01\x00\x00rest"))
		if err != nil || string(payload) != "kernel!" || size != 0x12a {
			t.Errorf("bootPayload() with %d setup sectors = %q, %d, %v, want kernel!, 298", setup, payload, size, err)
		}
	}
	for name, image := range map[string][]byte{
		"empty":         nil,
		"no header":     make([]byte, 4096),
		"beyond file":   bzImage(1, 16, 12, "kernel!abcd"),
		"no room":       bzImage(1, 16, 3, "kernel!abcd"),
		"offset beyond": bzImage(1, 0xffffffff, 0xffffffff, "kernel!abcd"),
	} {
		if payload, _, err := bootPayload(image); err == nil {
			t.Errorf("%s: bootPayload() = %d bytes, want an error", name, len(payload))
		}
	}
}

func FuzzBootPayload(f *testing.F) {
	f.Add(bzImage(1, 16, 11, "kernel!\x2a\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, image []byte) {
		payload, _, err := bootPayload(image)
		if err == nil && len(payload) > len(image) {
			t.Errorf("payload of %d bytes in an image of %d", len(payload), len(image))
		}
	})
}

func TestRootProgram(t *testing.T) {
	root := t.TempDir()
	for _, f := range []string{"usr/bin/tool", "lib/x86_64-linux-gnu/" + loaderName, "usr/lib/x86_64-linux-gnu/libx.so"} {
		p := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p, err := rootProgram(root, "usr/bin/tool")
	if err != nil {
		t.Fatal(err)
	}
	cmd := p.Command(t.Context(), "-x")
	want := []string{
		filepath.Join(root, "lib/x86_64-linux-gnu", loaderName), "--library-path",
		root + "/usr/lib/x86_64-linux-gnu:" + root + "/lib/x86_64-linux-gnu", root + "/usr/bin/tool", "-x",
	}
	if len(cmd.Args) != len(want) {
		t.Fatalf("Command() = %q, want %q", cmd.Args, want)
	}
	for i := range want {
		if cmd.Args[i] != want[i] {
			t.Errorf("argument %d = %q, want %q", i, cmd.Args[i], want[i])
		}
	}
	if _, err := rootProgram(root, "usr/bin/none"); err == nil {
		t.Error("rootProgram(none) = nil error")
	}
}
