package config

import (
	"strconv"
	"time"
)

// Limits of numbers.
const (
	maxShards   = 64
	maxPoll     = 1_000_000
	maxMACTable = 1 << 20
	maxMACAge   = 1_000_000
)

// globalSettings are the settings that stand at the top of a file and, behind
// two dashes, on the command line.
var globalSettings = []setting[Settings]{
	{
		key: "shards", kind: number, want: "0 to 64, 0 for one per processor but at most 8",
		help: "worker threads; 0 is one per processor (of --cpus, when given), at most 8",
		get:  func(s *Settings) string { return strconv.Itoa(s.Shards) },
		set: func(s *Settings, v string) (err error) {
			s.Shards, err = parseInt(v, 0, maxShards)
			return err
		},
	},
	{
		key: "cpus", kind: text, want: `processor numbers and ranges such as "2-5,8"`,
		help: "processors to pin worker threads to, such as 2-5,8; without it they are not pinned",
		get:  func(s *Settings) string { return s.CPUs.String() },
		set: func(s *Settings, v string) (err error) {
			s.CPUs, err = parseCPUs(v)
			return err
		},
	},
	{
		key: "poll-us", kind: number, want: "0 to 1000000 microseconds, 0 for never",
		help: "longest time in microseconds that an idle worker thread polls before it sleeps; 0 is never",
		get:  func(s *Settings) string { return formatDuration(s.PollMax, time.Microsecond) },
		set: func(s *Settings, v string) (err error) {
			s.PollMax, err = parseDuration(v, time.Microsecond, 0, maxPoll)
			return err
		},
	},
	{
		key: "mac-table", kind: number, want: "16 to 1048576 addresses",
		help: "MAC addresses the switch can learn",
		get:  func(s *Settings) string { return strconv.Itoa(s.MACTable) },
		set: func(s *Settings, v string) (err error) {
			s.MACTable, err = parseInt(v, 16, maxMACTable)
			return err
		},
	},
	{
		key: "mac-age", kind: number, want: "1 to 1000000 seconds",
		help: "seconds after which an address not seen is forgotten",
		get:  func(s *Settings) string { return formatDuration(s.MACAge, time.Second) },
		set: func(s *Settings, v string) (err error) {
			s.MACAge, err = parseDuration(v, time.Second, 1, maxMACAge)
			return err
		},
	},
	{
		key: "log-level", kind: text, want: "error, warn, info or debug", live: true,
		help: "what is logged: error, warn, info or debug",
		get:  func(s *Settings) string { return s.LogLevel },
		set: func(s *Settings, v string) (err error) {
			s.LogLevel, err = oneOf(v, "error", "warn", "info", "debug")
			return err
		},
	},
	{
		key: "log-format", kind: text, want: "text or json", live: true,
		help: "how it is logged: text or json",
		get:  func(s *Settings) string { return s.LogFormat },
		set: func(s *Settings, v string) (err error) {
			s.LogFormat, err = oneOf(v, "text", "json")
			return err
		},
	},
	{
		key: "control-socket", kind: text, want: `a path of at most 107 bytes, "none" for no control socket, or "" for the default path`,
		help: "path of the socket nvgrectl talks to; none for no such socket",
		get:  func(s *Settings) string { return s.ControlSocket },
		set: func(s *Settings, v string) (err error) {
			s.ControlSocket, err = parsePath(v)
			return err
		},
	},
	{
		key: "control-mode", kind: text, want: `permission bits in octal such as "0660"`,
		help: "permissions of the control socket",
		get:  func(s *Settings) string { return formatMode(s.ControlMode) },
		set: func(s *Settings, v string) (err error) {
			s.ControlMode, err = parseMode(v)
			return err
		},
	},
	{
		key: "control-group", kind: text, want: "the name or number of a group",
		help: "group that owns the control socket; without it that of the process",
		get:  func(s *Settings) string { return s.ControlGroup },
		set: func(s *Settings, v string) error {
			s.ControlGroup = v
			return nil
		},
	},
	{
		key: "state-dir", kind: text, want: `a folder, or "" for none`,
		help: "folder in which ports keep the keywords of their adapters over restarts; it is made",
		get:  func(s *Settings) string { return s.StateDir },
		set: func(s *Settings, v string) error {
			s.StateDir = v
			return nil
		},
	},
}
