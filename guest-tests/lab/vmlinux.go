package lab

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Fields of the x86 boot protocol's setup header, as byte offsets into the
// image (Documentation/arch/x86/boot.rst of the kernel).
const (
	bootSetupSectors  = 0x1f1 // u8, 0 means 4; the sector before them is not counted
	bootMagic         = 0x202 // "HdrS"
	bootPayloadOffset = 0x248 // u32, from the start of protected-mode code
	bootPayloadLength = 0x24c // u32, with the 4 bytes of uncompressed size
	bootHeaderEnd     = 0x250
	bootSector        = 512
)

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// uncompressed returns an ELF image that QEMU enters directly (PVH), derived
// from a bzImage. Under emulation that saves the guest a second and a half of
// decompressing at every boot. An image that is not packed with zstd is
// returned as it is: it boots too, only later.
func (l *Lab) uncompressed(ctx context.Context, image, version string) (string, error) {
	dir, err := l.CacheDir("kernel")
	if err != nil {
		return "", err
	}
	final := filepath.Join(dir, "vmlinux-"+version)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	b, err := os.ReadFile(image)
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	payload, size, err := bootPayload(b)
	if err != nil {
		return "", fmt.Errorf("lab: %s: %w", image, err)
	}
	if !bytes.HasPrefix(payload, zstdMagic) {
		l.logf("lab: kernel %s is not packed with zstd: it will unpack itself at every boot", version)
		return image, nil
	}
	root, err := l.GuestRoot(ctx)
	if err != nil {
		return "", err
	}
	zstd, err := rootProgram(root, "usr/bin/zstd")
	if err != nil {
		return "", err
	}
	cmd := zstd.Command(ctx, "-dc")
	cmd.Stdin = bytes.NewReader(payload)
	vmlinux, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("lab: unpacking %s: %w", image, explain(err))
	}
	if len(vmlinux) != size {
		return "", fmt.Errorf("lab: unpacking %s: got %d bytes, its header says %d", image, len(vmlinux), size)
	}
	if f, err := elf.NewFile(bytes.NewReader(vmlinux)); err != nil || f.Machine != elf.EM_X86_64 {
		return "", fmt.Errorf("lab: %s does not hold an x86-64 ELF image: %v", image, err)
	}
	return final, writeFileAtomic(final, vmlinux)
}

// bootPayload finds the compressed kernel in a bzImage and the size it unpacks
// to, in bytes.
func bootPayload(image []byte) (payload []byte, size int, err error) {
	if len(image) < bootHeaderEnd || string(image[bootMagic:bootMagic+4]) != "HdrS" {
		return nil, 0, errors.New("no bzImage: the setup header's HdrS is missing")
	}
	setup := int(image[bootSetupSectors])
	if setup == 0 {
		setup = 4
	}
	start := uint64(setup+1)*bootSector + uint64(binary.LittleEndian.Uint32(image[bootPayloadOffset:]))
	length := uint64(binary.LittleEndian.Uint32(image[bootPayloadLength:]))
	if length < 4 || start+length > uint64(len(image)) {
		return nil, 0, fmt.Errorf("bad bzImage: payload of %d bytes at %d in a file of %d", length, start, len(image))
	}
	payload = image[start : start+length]
	tail := len(payload) - 4
	return payload[:tail], int(binary.LittleEndian.Uint32(payload[tail:])), nil
}
