package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/cavaliergopher/cpio"
)

// isolinux names the boot loader's files in Debian.
var isolinux = []string{"/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"}

// bootConfig boots the kernel. Bochs 2.7 reports XSAVES and the state of
// protection keys inconsistently, whereupon a kernel would do without all of
// XSAVE, AVX included: so it is told that there is no PKU (word 16, bit 3), no
// XSAVEC (10, 1) and no XSAVES (10, 3).
const bootConfig = `DEFAULT tests
PROMPT 0
LABEL tests
 KERNEL /vmlinuz
 INITRD /initrd.gz
 APPEND console=ttyS0 quiet nokaslr mitigations=off panic=-1 clearcpuid=515,321,323
`

// image makes dir/image.iso from the kernel and the tests of packages, and
// returns how many test binaries there are.
func image(ctx context.Context, dir, kernel string, packages []string) (int, error) {
	root, iso := filepath.Join(dir, "root"), filepath.Join(dir, "iso")
	for _, d := range []string{"root/proc", "root/dev", "root/tmp", "root/tests", "iso/isolinux"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return 0, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if err := copyFile(filepath.Join(root, "init"), self, 0o755); err != nil {
		return 0, err
	}
	for i, p := range packages {
		// Without cgo test binaries need no shared libraries.
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", filepath.Join(root, "tests", fmt.Sprintf("%02d-%s", i, path.Base(p))), p)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
	}
	if err := initramfs(filepath.Join(iso, "initrd.gz"), root); err != nil {
		return 0, err
	}
	if err := copyFile(filepath.Join(iso, "vmlinuz"), kernel, 0o644); err != nil {
		return 0, err
	}
	for _, f := range isolinux {
		if err := copyFile(filepath.Join(iso, "isolinux", filepath.Base(f)), f, 0o644); err != nil {
			return 0, err
		}
	}
	if err := os.WriteFile(filepath.Join(iso, "isolinux", "isolinux.cfg"), []byte(bootConfig), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "xorriso", "-as", "mkisofs", "-quiet", "-o", filepath.Join(dir, "image.iso"),
		"-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", iso)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return len(packages), nil
}

// initramfs packs the directory root.
func initramfs(name, root string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := cpio.NewWriter(z)
	err = filepath.WalkDir(root, func(name string, _ os.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		h := &cpio.Header{Name: rel, Mode: cpio.TypeDir | 0o755}
		if info.Mode().IsRegular() {
			h.Mode, h.Size = cpio.TypeReg|0o755, info.Size()
		}
		if err := w.WriteHeader(h); err != nil || info.IsDir() {
			return err
		}
		src, err := os.Open(name)
		if err != nil {
			return err
		}
		defer src.Close()
		_, err = io.Copy(w, src)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return f.Close()
}

func copyFile(dst, src string, mode os.FileMode) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, mode)
}
