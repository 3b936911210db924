package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"vhost-user-nvgre/guest-tests/agentproto"
)

// writeFile puts one piece of a file in its place.
func writeFile(r agentproto.Request) error {
	flags := os.O_WRONLY
	if r.Truncate {
		flags |= os.O_CREATE | os.O_TRUNC
		if err := os.MkdirAll(filepath.Dir(r.Path), 0o755); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(r.Path, flags, os.FileMode(r.Mode))
	if err != nil {
		return err
	}
	if r.Offset == 0 {
		// Not WriteAt: files of /proc and /sys know no offsets.
		_, err = f.Write(r.Data)
	} else {
		_, err = f.WriteAt(r.Data, r.Offset)
	}
	return errors.Join(err, f.Close())
}

// readFile sends a file piece by piece.
func (a *agent) readFile(r agentproto.Request) error {
	f, err := os.Open(r.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, agentproto.MaxData)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			a.send(agentproto.Event{ID: r.ID, Kind: agentproto.Data, Data: buf[:n]})
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
