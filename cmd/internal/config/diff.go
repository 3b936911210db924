package config

import (
	"fmt"
	"slices"
)

// Change is a setting whose value differs between two readings.
type Change struct {
	Key      string
	Port     string // name of the port it belongs to, "" for a global setting
	Old, New string
	Live     bool // it can be changed while running
}

// String says what changed.
func (c Change) String() string {
	key := c.Key
	if c.Port != "" {
		key = "port " + c.Port + ": " + key
	}
	return fmt.Sprintf("%s from %q to %q", key, c.Old, c.New)
}

// Undo gives the setting its old value in s, so that a comparison with what was
// wanted finds the change again.
func (c Change) Undo(s *Settings) {
	if c.Port == "" {
		undo(globalSettings, c, s)
		return
	}
	for i := range s.Ports {
		if s.Ports[i].Name == c.Port {
			undo(portSettings, c, &s.Ports[i])
		}
	}
}

func undo[T any](table []setting[T], c Change, t *T) {
	for i := range table {
		if s := &table[i]; s.key == c.Key {
			_ = s.set(t, c.Old) // as in adoptLive
		}
	}
}

// Diff is what turns one reading of the settings into another.
type Diff struct {
	Added   []Port
	Removed []Port // as they were
	Changed []Change
}

// Compare returns what differs. Ports are the same when they have the same
// name.
func Compare(old, next *Settings) Diff {
	var d Diff
	d.Changed = compare(globalSettings, "", old, next)
	was := map[string]*Port{}
	for i := range old.Ports {
		was[old.Ports[i].Name] = &old.Ports[i]
	}
	for i := range next.Ports {
		p := &next.Ports[i]
		if o := was[p.Name]; o != nil {
			d.Changed = append(d.Changed, compare(portSettings, p.Name, o, p)...)
			delete(was, p.Name)
		} else {
			d.Added = append(d.Added, *p)
		}
	}
	for i := range old.Ports {
		if was[old.Ports[i].Name] != nil {
			d.Removed = append(d.Removed, old.Ports[i])
		}
	}
	return d
}

func compare[T any](table []setting[T], port string, old, next *T) []Change {
	var changes []Change
	for i := range table {
		s := &table[i]
		if was, is := s.get(old), s.get(next); was != is {
			changes = append(changes, Change{Key: s.key, Port: port, Old: was, New: is, Live: s.live})
		}
	}
	return changes
}

// AdoptLive gives s the live settings of next, for the ports that both have.
// The ports of s are replaced by a copy first.
func AdoptLive(s, next *Settings) {
	adoptLive(globalSettings, s, next)
	s.Ports = slices.Clone(s.Ports)
	for i := range s.Ports {
		for j := range next.Ports {
			if s.Ports[i].Name == next.Ports[j].Name {
				adoptLive(portSettings, &s.Ports[i], &next.Ports[j])
			}
		}
	}
}

func adoptLive[T any](table []setting[T], t, next *T) {
	for i := range table {
		if s := &table[i]; s.live {
			// A value that get returns is one that set takes.
			_ = s.set(t, s.get(next))
		}
	}
}
