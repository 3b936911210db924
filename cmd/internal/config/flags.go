package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// Error is a fault in what the user asked for, as against one of the system.
type Error struct {
	Usage bool // of the command line alone; otherwise a file has a part in it
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the fault, or the several faults joined.
func (e *Error) Unwrap() error { return e.Err }

// Flags is the command line's part of the settings. Register binds it to a
// flag set; after that set was parsed, Load may be called any number of times.
type Flags struct {
	file    string
	globals []globalFlag
	ports   portFlags

	socketPath string
	fd         int
	set        *pflag.FlagSet
}

// PortName is the name of the port that --socket-path or --fd makes.
const PortName = "port0"

// Register defines the flags.
func (f *Flags) Register(set *pflag.FlagSet) {
	f.set = set
	set.StringVar(&f.file, "config", "", "configuration file `FILE`")
	set.Var(&f.ports, "port", "add a port; KEY is one of "+keys(portSettings)+"; may be repeated")
	f.globals = make([]globalFlag, len(globalSettings))
	for i := range globalSettings {
		f.globals[i].setting = &globalSettings[i]
		set.Var(&f.globals[i], globalSettings[i].key, globalSettings[i].help)
	}
	set.StringVar(&f.socketPath, "socket-path", "", "add a port named "+PortName+" that listens at `PATH`, as QEMU's conventions have it")
	set.IntVar(&f.fd, "fd", NoFD, "add a port named "+PortName+" on the inherited socket `N`")
	set.Lookup("fd").DefValue = "" // -1 would be shown as if it meant something
}

// File returns the path of the configuration file, "" when there is none.
func (f *Flags) File() string { return f.file }

// Load reads the file, lays the command line over it and checks the result.
// Faults in it come as an *Error; that the file cannot be read comes as an
// *Error too unless it is for lack of permission.
func (f *Flags) Load() (Settings, error) {
	s := Default()
	if f.file != "" {
		data, err := os.ReadFile(f.file)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return s, err
		case err != nil:
			return s, &Error{Err: err}
		}
		if err := parseFile(&s, f.file, data); err != nil {
			return s, &Error{Err: err}
		}
	}
	for i := range f.globals {
		if err := f.globals[i].apply(&s); err != nil {
			return s, &Error{Usage: true, Err: err}
		}
	}
	s.Ports = append(s.Ports, f.ports...)
	p, err := f.qemuPort()
	if err != nil {
		return s, &Error{Usage: true, Err: err}
	}
	s.Ports = append(s.Ports, p...)
	if f.file == "" && len(s.Ports) == 0 {
		return s, &Error{Usage: true, Err: errors.New("there is no port; describe some with --port or in a file given with --config")}
	}
	if err := s.check(); err != nil {
		return s, &Error{Usage: f.file == "", Err: err}
	}
	return s, nil
}

// qemuPort returns the port of --socket-path or --fd, if one was given.
func (f *Flags) qemuPort() ([]Port, error) {
	byPath, byFD := f.set.Changed("socket-path"), f.set.Changed("fd")
	if !byPath && !byFD {
		return nil, nil
	}
	if byPath && byFD {
		return nil, errors.New("--socket-path and --fd exclude each other")
	}
	key, value := "socket", f.socketPath
	if byFD {
		key, value = "fd", fmt.Sprint(f.fd)
	}
	p := DefaultPort()
	p.Name = PortName
	p.Origin = "--socket-path"
	if byFD {
		p.Origin = "--fd"
	}
	s, err := find(portSettings, key)
	if err != nil {
		return nil, err
	}
	if err := s.assign(&p, value); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Origin, err)
	}
	return []Port{p}, nil
}

// globalFlag is the flag of a global setting.
type globalFlag struct {
	setting *setting[Settings]
	given   bool
	value   string
}

// Set implements pflag.Value.
func (g *globalFlag) Set(v string) error {
	var scratch Settings
	if err := g.setting.assign(&scratch, v); err != nil {
		return err
	}
	g.given, g.value = true, v
	return nil
}

// String implements pflag.Value; before parsing it is the default.
func (g *globalFlag) String() string {
	switch {
	case g.given:
		return g.value
	case g.setting == nil:
		return ""
	}
	d := Default()
	return g.setting.get(&d)
}

// Type implements pflag.Value; it stands behind the flag in --help.
func (g *globalFlag) Type() string {
	if g.setting.kind == number {
		return "N"
	}
	return strings.ToUpper(g.setting.key[strings.LastIndexByte(g.setting.key, '-')+1:])
}

func (g *globalFlag) apply(s *Settings) error {
	if !g.given {
		return nil
	}
	return g.setting.assign(s, g.value)
}

// portFlags collects the ports of --port.
type portFlags []Port

// Set implements pflag.Value.
func (f *portFlags) Set(v string) error {
	p, err := parsePort(v)
	if err != nil {
		return err
	}
	*f = append(*f, p)
	return nil
}

// String implements pflag.Value.
func (f *portFlags) String() string { return "" }

// Type implements pflag.Value.
func (f *portFlags) Type() string { return "KEY=VALUE,..." }

// parsePort reads the quick form of a port: key=value pairs separated by
// commas.
func parsePort(v string) (Port, error) {
	p := DefaultPort()
	p.Origin = "--port " + v
	given := map[string]bool{}
	for part := range strings.SplitSeq(v, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return p, fmt.Errorf("%q is no KEY=VALUE; want something like name=vm0,socket=/run/vm0.sock", part)
		}
		if given[key] {
			return p, fmt.Errorf("%s is given twice", key)
		}
		given[key] = true
		s, err := find(portSettings, key)
		if err != nil {
			return p, err
		}
		if err := s.assign(&p, value); err != nil {
			return p, err
		}
	}
	return p, nil
}

// keys returns the keys of a table for a sentence.
func keys[T any](table []setting[T]) string {
	var all []string
	for i := range table {
		all = append(all, table[i].key)
	}
	return strings.Join(all, ", ")
}
