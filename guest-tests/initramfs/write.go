package initramfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/ulikunitz/xz"
)

// write puts the files into w as an archive of the kernel's "newc" format.
func write(ctx context.Context, w io.Writer, files []File) error {
	a := cpio.NewWriter(w)
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := f.contents()
		if err != nil {
			return err
		}
		hdr := &cpio.Header{
			Name:  strings.TrimPrefix(f.Name, "/"),
			Mode:  f.Mode,
			Size:  int64(len(data)),
			Inode: int64(i + 1),
			Links: 1,
		}
		if f.Mode&cpio.ModeType == 0 {
			hdr.Mode |= cpio.TypeReg
		}
		if err := a.WriteHeader(hdr); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if _, err := a.Write(data); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return a.Close()
}

// contents returns what a file holds in the guest.
func (f *File) contents() ([]byte, error) {
	if f.Source == "" {
		return f.Data, nil
	}
	b, err := os.ReadFile(f.Source)
	if err != nil || !f.unxz {
		return b, err
	}
	b, err = decompress(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Source, err)
	}
	return b, nil
}

func decompress(b []byte) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
