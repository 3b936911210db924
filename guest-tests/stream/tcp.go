package stream

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// sendTCP writes the stream and returns the hash of it.
func sendTCP(p *peer, j *Job, stream uint64) (hash string, err error) {
	data, sum := newSource(j.Seed, stream), sha256.New()
	buf := make([]byte, maxOf(j.Sizes))
	err = j.writes(func(n int) error {
		b := buf[:n]
		data.fill(b)
		sum.Write(b)
		_, err := p.Write(b)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("stream: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// receiveTCP reads the stream, compares it with what should come and returns
// the hash of it.
func receiveTCP(p *peer, j *Job, stream uint64) (hash string, err error) {
	data, sum := newSource(j.Seed, stream), sha256.New()
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	var at int64
	for left := j.total(); left > 0; {
		n, err := p.in.Read(got[:min(int64(len(got)), left)])
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", fmt.Errorf("after %d bytes: %w", at, err)
		}
		data.fill(want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			return "", fmt.Errorf("at byte %d: %s", at, difference(got[:n], want[:n]))
		}
		sum.Write(got[:n])
		at += int64(n)
		left -= int64(n)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func maxOf(sizes []int) (most int) {
	for _, n := range sizes {
		most = max(most, n)
	}
	return most
}

// difference describes where two pieces of equal length differ.
func difference(got, want []byte) string {
	first, last := -1, -1
	for i := range got {
		if got[i] != want[i] {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	end := min(first+16, len(got))
	return fmt.Sprintf("of %d bytes those from %d to %d differ: got % x, want % x",
		len(got), first, last, got[first:end], want[first:end])
}
