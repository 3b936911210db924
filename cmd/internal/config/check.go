package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// check finds what no setting alone can be wrong in.
func (s *Settings) check() error {
	var errs []error
	var wires []*Port
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
		if p.Kind.IsWire() {
			wires = append(wires, p)
			continue
		}
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
	errs = append(errs, checkWires(wires)...)
	errs = append(errs, s.checkOIDs(sockets)...)
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
	}
	if err := p.checkKind(); err != nil {
		return err
	}
	switch {
	case slices.Contains(forInterfaces, p.Kind) && p.Interface == "":
		return fmt.Errorf("port %s of kind %s has no interface; add one, such as interface=%s", p.Name, p.Kind, p.Name)
	case p.Kind == KindPcap && p.Read == "" && p.Write == "":
		return fmt.Errorf("port %s of kind pcap has neither read nor write; add one, such as write=%s.pcapng", p.Name, p.Name)
	case p.Kind == KindPcap && p.Write != "" && filepath.Clean(p.Read) == filepath.Clean(p.Write):
		return fmt.Errorf("port %s reads and writes %s; what is written replaces what is there", p.Name, p.Write)
	case p.Kind.IsWire():
		return nil
	case p.Socket == "" && p.FD == NoFD:
		return fmt.Errorf("port %s has neither socket nor fd; add socket, such as socket=/run/%s.sock", p.Name, p.Name)
	case p.Socket != "" && p.FD != NoFD:
		return fmt.Errorf("port %s has both socket and fd; they exclude each other", p.Name)
	case p.QMPID != "" && p.QMP == "":
		return fmt.Errorf("port %s has qmp-id and no qmp; add the path of a QMP monitor", p.Name)
	case p.FD != NoFD && p.QMP != "" && p.QMPID == "":
		return fmt.Errorf("port %s has fd and qmp, but no qmp-id; add the id of its NIC, whose socket has no path to find it by", p.Name)
	case p.FD != NoFD && p.Mode == ModeClient:
		return fmt.Errorf("port %s has fd and mode client; to connect it needs a socket path", p.Name)
	}
	return nil
}

// checkKind finds settings that are for ports of another kind.
func (p *Port) checkKind() error {
	fresh := DefaultPort()
	for i := range portSettings {
		s := &portSettings[i]
		if len(s.only) > 0 && !slices.Contains(s.only, p.Kind) && s.get(p) != s.get(&fresh) {
			return fmt.Errorf("port %s of kind %s has %s, which is for ports of kind %s", p.Name, p.Kind, s.key, kinds(s.only))
		}
	}
	return nil
}

// kinds returns kinds of port for a sentence.
func kinds(all []Kind) string {
	words := make([]string, len(all))
	for i, k := range all {
		words[i] = string(k)
	}
	if n := len(words) - 1; n > 0 {
		return strings.Join(words[:n], ", ") + " or " + words[n]
	}
	return words[0]
}

// checkWires finds wires that want the same thing.
func checkWires(wires []*Port) []error {
	var errs []error
	type device struct{ netns, name string }
	devices, files := map[device]*Port{}, map[string]*Port{}
	for _, p := range wires {
		if p.Kind == KindPcap {
			if p.Write == "" {
				continue
			}
			path := filepath.Clean(p.Write)
			if other := files[path]; other != nil {
				errs = append(errs, fmt.Errorf("%s: port %s writes %s, as port %s does, described by %s", p.Origin, p.Name, p.Write, other.Name, other.Origin))
			}
			files[path] = p
			continue
		}
		d := device{p.Netns, p.Interface}
		if other := devices[d]; other != nil {
			errs = append(errs, fmt.Errorf("%s: port %s uses interface %s, as port %s does, described by %s", p.Origin, p.Name, p.Interface, other.Name, other.Origin))
		}
		devices[d] = p
	}
	return errs
}

// checkOIDs finds ports whose adapters cannot be told apart by who asks.
// sockets are the vhost-user sockets by path.
func (s *Settings) checkOIDs(sockets map[string]*Port) (errs []error) {
	cids, paths := map[uint32]*Port{}, map[string]*Port{}
	for i := range s.Ports {
		p := &s.Ports[i]
		if other := cids[p.OIDCID]; p.OIDCID != 0 && other != nil {
			errs = append(errs, fmt.Errorf("%s: port %s has oid-cid %d, as port %s has, described by %s", p.Origin, p.Name, p.OIDCID, other.Name, other.Origin))
		}
		cids[p.OIDCID] = p
		if p.OIDSocket != "" {
			path := filepath.Clean(p.OIDSocket)
			for _, other := range []*Port{sockets[path], paths[path]} {
				if other != nil {
					errs = append(errs, fmt.Errorf("%s: port %s has oid-socket %s, a socket that port %s uses, described by %s", p.Origin, p.Name, p.OIDSocket, other.Name, other.Origin))
				}
			}
			paths[path] = p
		}
		if p.VMQ && p.QueuePairs < 2 {
			errs = append(errs, fmt.Errorf("%s: port %s has vmq on and %d queue pair; receive filters need 2 or more", p.Origin, p.Name, p.QueuePairs))
		}
	}
	return errs
}
