package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
)

func TestParseFile(t *testing.T) {
	const text = `
shards = 0x4
poll-us = 1_000
cpus = "2-5,8"
mac-age = 60
log-format = "json"
control-mode = "0600"

[[port]]
name = "vm0"
socket = "/run/vm0.sock"
queue-pairs = 4
mac = "52:54:00:12:34:56"
mtu = 9000
link = "down"
withhold = [
  "mrg_rxbuf", # a comment
  "event_idx",
]

[[port]]
name = "vm1"
fd = 3
`
	got := Default()
	if err := parseFile(&got, "f.toml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Shards = 4
	want.PollMax = time.Millisecond
	want.CPUs = CPUList{2, 3, 4, 5, 8}
	want.MACAge = time.Minute
	want.LogFormat = "json"
	want.ControlMode = 0o600
	if d := compare(globalSettings, "", &want, &got); len(d) != 0 {
		t.Errorf("settings differ: %v", d)
	}
	vm0, vm1 := DefaultPort(), DefaultPort()
	vm0.Name, vm0.Socket, vm0.QueuePairs, vm0.MTU, vm0.LinkUp = "vm0", "/run/vm0.sock", 4, 9000, false
	vm0.MAC = virtio.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	vm0.Withhold = virtio.FeatureMrgRxbuf | virtio.FeatureEventIdx
	vm0.Origin = "f.toml:9"
	vm1.Name, vm1.FD, vm1.Origin = "vm1", 3, "f.toml:21"
	if !slices.Equal(got.Ports, []Port{vm0, vm1}) {
		t.Errorf("ports:\n got %+v\nwant %+v", got.Ports, []Port{vm0, vm1})
	}
}

func TestParseFileFaults(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // the messages, complete
	}{
		{
			"no TOML", "shards = 1\n\nshar ds\n",
			[]string{"f.toml:3: expected '=' after key"},
		},
		{
			"twice", "shards = 1\nshards = 2\n",
			[]string{"f.toml:2: key shards is already defined"},
		},
		{
			"number that no word holds", "shards = 99999999999999999999",
			[]string{"f.toml:1: decimal number is too large to fit in a 64-bit signed integer"},
		},
		{
			"misspelt", "# comment\npoll-su = 3",
			[]string{`f.toml:2: there is no setting "poll-su"; did you mean poll-us?`},
		},
		{
			"unknown", "zzz = 3",
			[]string{`f.toml:1: there is no setting "zzz"; there are ` + keys(globalSettings)},
		},
		{
			"a port's setting at the top", "queue-pairs = 3",
			[]string{`f.toml:1: there is no setting "queue-pairs"; there are ` + keys(globalSettings)},
		},
		{
			"quotes around a number", `poll-us = "50"`,
			[]string{`f.toml:1: poll-us: this is text in quotes; want a whole number: 0 to 1000000 microseconds, 0 for never`},
		},
		{
			"fraction", "mac-age = 1.5",
			[]string{`f.toml:1: mac-age: this is a number with a fraction; want a whole number: 1 to 1000000 seconds`},
		},
		{
			"truth value", "log-level = true",
			[]string{`f.toml:1: log-level: this is a truth value; want text in quotes: error, warn, info or debug`},
		},
		{
			"date", "log-level = 2026-11-20",
			[]string{`f.toml:1: log-level: this is a date or time; want text in quotes: error, warn, info or debug`},
		},
		{
			"out of range", "shards = -1",
			[]string{`f.toml:1: shards: "-1" is out of range; want 0 to 64, 0 for one per processor but at most 8`},
		},
		{
			"dots", "log.level = 'info'",
			[]string{`f.toml:1: there is no setting "log.level"; the names of settings have no dots`},
		},
		{
			"unknown table: one message", "[switch]\nshards = 1\nx = 2\n[[port]]\nspeed = -1",
			[]string{
				`f.toml:1: there is no table "switch"; ports are described in tables that begin with [[port]]`,
				`f.toml:5: speed: "-1" is out of range; want 1 to 2147483647 Mbit/s, or 0 for unknown`,
			},
		},
		{
			"port as plain table", "[port]\nname = 'a'",
			[]string{`f.toml:1: there is no table "port"; ports are described in tables that begin with [[port]]`},
		},
		{
			"port as inline table", "port = [{name = 'a'}]",
			[]string{`f.toml:1: port: want tables that begin with [[port]]`},
		},
		{
			"all faults of a port", "[[port]]\nname = '-'\nqueue-pairs = 65\nfd = 2\nmtu = 67\nwithhold = ['nonsense']\nmac = '01:00:00:00:00:00'\nmode = 'both'\n",
			[]string{
				`f.toml:2: name: "-" is malformed; want 1 to 63 letters, digits, dots, dashes or underscores, a letter, digit or underscore first`,
				`f.toml:3: queue-pairs: "65" is out of range; want 1 to 64`,
				`f.toml:4: fd: "2" is out of range; want the number of an inherited descriptor, 3 or higher, or -1 for none`,
				`f.toml:5: mtu: "67" is out of range; want 68 to 65535, or 0 to tell the driver none`,
				`f.toml:6: withhold: "nonsense" is naming an unknown feature "nonsense"; want names of virtio features in lower case, such as mrg_rxbuf and event_idx`,
				`f.toml:7: mac: "01:00:00:00:00:00" is not the address of a single station; want the address of one station such as "02:00:00:00:00:01", or "" to derive one from the name`,
				`f.toml:8: mode: "both" is not known; want server (the front end connects to us) or client (we connect to it)`,
			},
		},
		{
			"list of the wrong things", "[[port]]\nwithhold = [1]",
			[]string{`f.toml:2: withhold: this is a list with an element that is no text; want a list of texts: names of virtio features in lower case, such as mrg_rxbuf and event_idx`},
		},
		{
			"text instead of a list", "[[port]]\nwithhold = 'mrg_rxbuf'",
			[]string{`f.toml:2: withhold: this is text in quotes; want a list of texts: names of virtio features in lower case, such as mrg_rxbuf and event_idx`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Default()
			err := parseFile(&s, "f.toml", []byte(tt.text))
			if err == nil {
				t.Fatalf("parseFile(%q) succeeded, want %q", tt.text, tt.want)
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, tt.want) {
				t.Errorf("parseFile(%q):\n got %s\nwant %s", tt.text, strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
			if _, ok := errors.AsType[*FileError](err); !ok {
				t.Errorf("error of type %T holds no *FileError", err)
			}
		})
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("shards = 1\n[[port]]\nname = 'a'\nwithhold = ['mq']\n"))
	f.Add([]byte("a.b.c = {x = [1, 2.5]}\n[a]\n[[a.b]]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := Default()
		if err := parseFile(&s, "f", text); err != nil {
			return
		}
		// What was accepted prints as values that are accepted again.
		for i := range globalSettings {
			g := &globalSettings[i]
			if err := g.assign(&s, g.get(&s)); err != nil {
				t.Errorf("%v, though it was read from a file", err)
			}
		}
		for i := range s.Ports {
			for j := range portSettings {
				p := &portSettings[j]
				if v := p.get(&s.Ports[i]); v != "" {
					if err := p.assign(&s.Ports[i], v); err != nil {
						t.Errorf("%v, though it was read from a file", err)
					}
				}
			}
		}
	})
}
