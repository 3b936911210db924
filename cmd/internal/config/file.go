package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// portTable is the name of the table that describes a port.
const portTable = "port"

// FileError is a fault in the text of a configuration file.
type FileError struct {
	File string
	Line int
	Err  error
}

// Error returns FILE:LINE: and what is wrong.
func (e *FileError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns what is wrong without the place.
func (e *FileError) Unwrap() error { return e.Err }

// parseFile overlays s with the settings in a file's text. Ports of the file
// are appended. The error joins a *FileError for every fault found.
func parseFile(s *Settings, file string, data []byte) error {
	// The whole document first: syntax, duplicate keys, values that no TOML
	// has. The walk below then only meets well-formed documents.
	var discard map[string]any
	if err := toml.Unmarshal(data, &discard); err != nil {
		line := 1
		if d, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = d.Position()
		}
		return &FileError{file, line, errors.New(strings.TrimPrefix(err.Error(), "toml: "))}
	}
	r := fileReader{file: file, settings: s}
	r.parser.Reset(data)
	for r.parser.NextExpression() {
		if err := r.expression(r.parser.Expression()); err != nil {
			r.errs = append(r.errs, &FileError{file, r.line, err})
		}
	}
	return errors.Join(r.errs...)
}

// fileReader walks the expressions of a file.
type fileReader struct {
	file     string
	parser   unstable.Parser
	settings *Settings
	line     int // of the expression at hand

	// inPort says that the last table was a port, skip that it was unknown
	// and that its settings would only cause more messages.
	inPort, skip bool

	errs []error
}

func (r *fileReader) expression(n *unstable.Node) error {
	key, err := r.key(n)
	switch n.Kind {
	case unstable.ArrayTable, unstable.Table:
		r.inPort = err == nil && key == portTable && n.Kind == unstable.ArrayTable
		r.skip = !r.inPort
		if r.inPort {
			p := DefaultPort()
			p.Origin = fmt.Sprintf("%s:%d", r.file, r.line)
			r.settings.Ports = append(r.settings.Ports, p)
			return nil
		}
		return fmt.Errorf("there is no table %q; ports are described in tables that begin with [[%s]]", key, portTable)
	case unstable.KeyValue:
		switch {
		case r.skip:
			return nil
		case err != nil:
			return err
		case r.inPort:
			return assign(portSettings, &r.settings.Ports[len(r.settings.Ports)-1], key, n.Value())
		case key == portTable:
			return fmt.Errorf("%s: want tables that begin with [[%s]]", key, portTable)
		}
		return assign(globalSettings, r.settings, key, n.Value())
	}
	return nil
}

// key returns the key of an expression and notes its line. Keys of several
// parts name nothing here; the error says so.
func (r *fileReader) key(n *unstable.Node) (string, error) {
	var parts []string
	for it := n.Key(); it.Next(); {
		k := it.Node()
		if len(parts) == 0 {
			r.line = r.parser.Shape(k.Raw).Start.Line
		}
		parts = append(parts, string(k.Data))
	}
	key := strings.Join(parts, ".")
	if len(parts) > 1 {
		return key, fmt.Errorf("there is no setting %q; the names of settings have no dots", key)
	}
	return key, nil
}

// assign sets one setting to the value of a node.
func assign[T any](table []setting[T], t *T, key string, value *unstable.Node) error {
	s, err := find(table, key)
	if err != nil {
		return err
	}
	v, is := nodeText(value)
	if is != s.kind {
		return fmt.Errorf("%s: this is %s; want %s: %s", key, is, s.kind, s.want)
	}
	return s.assign(t, v)
}

// nodeText returns a value in the form it has on the command line, and what
// kind of value it is.
func nodeText(n *unstable.Node) (string, kind) {
	switch n.Kind {
	case unstable.String:
		return string(n.Data), text
	case unstable.Integer:
		// The document was decoded once, so the number is valid.
		i, err := strconv.ParseInt(string(n.Data), 0, 64)
		if err != nil {
			return string(n.Data), number
		}
		return strconv.FormatInt(i, 10), number
	case unstable.Array:
		var parts []string
		for it := n.Children(); it.Next(); {
			if it.Node().Kind != unstable.String {
				return "", "a list with an element that is no text"
			}
			parts = append(parts, string(it.Node().Data))
		}
		return strings.Join(parts, listSeparator), list
	case unstable.Bool:
		return "", "a truth value"
	case unstable.Float:
		return "", "a number with a fraction"
	case unstable.InlineTable:
		return "", "a table"
	}
	return "", "a date or time"
}
