package config

import (
	"errors"
	"fmt"
	"path/filepath"
)

// check finds what no setting alone can be wrong in.
func (s *Settings) check() error {
	var errs []error
	names, sockets, fds := map[string]*Port{}, map[string]*Port{}, map[int]*Port{}
	for i := range s.Ports {
		p := &s.Ports[i]
		if err := p.check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Origin, err))
			continue
		}
		if other := names[p.Name]; other != nil {
			errs = append(errs, fmt.Errorf("%s: there is a port %s already, described by %s", p.Origin, p.Name, other.Origin))
			continue
		}
		names[p.Name] = p
		if p.FD != NoFD {
			if other := fds[p.FD]; other != nil {
				errs = append(errs, fmt.Errorf("%s: port %s uses descriptor %d, as port %s does, described by %s", p.Origin, p.Name, p.FD, other.Name, other.Origin))
			}
			fds[p.FD] = p
			continue
		}
		path := filepath.Clean(p.Socket)
		if other := sockets[path]; other != nil {
			errs = append(errs, fmt.Errorf("%s: port %s uses socket %s, as port %s does, described by %s", p.Origin, p.Name, p.Socket, other.Name, other.Origin))
		}
		sockets[path] = p
	}
	if s.ControlSocket != "" && s.ControlSocket != NoControlSocket {
		if p := sockets[filepath.Clean(s.ControlSocket)]; p != nil {
			errs = append(errs, fmt.Errorf("%s: port %s uses socket %s, which is also the control socket", p.Origin, p.Name, p.Socket))
		}
	}
	return errors.Join(errs...)
}

func (p *Port) check() error {
	switch {
	case p.Name == "":
		return errors.New("the port has no name; add one, such as name=vm0")
	case p.Socket == "" && p.FD == NoFD:
		return fmt.Errorf("port %s has neither socket nor fd; add socket, such as socket=/run/%s.sock", p.Name, p.Name)
	case p.Socket != "" && p.FD != NoFD:
		return fmt.Errorf("port %s has both socket and fd; they exclude each other", p.Name)
	case p.FD != NoFD && p.Mode == ModeClient:
		return fmt.Errorf("port %s has fd and mode client; to connect it needs a socket path", p.Name)
	}
	return nil
}
