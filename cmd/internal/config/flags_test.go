package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"vhost-user-nvgre/virtio"
)

// load parses a command line and loads it.
func load(t *testing.T, args ...string) (Settings, error) {
	t.Helper()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	var f Flags
	f.Register(set)
	if err := set.Parse(args); err != nil {
		return Settings{}, err
	}
	return f.Load()
}

// writeFile makes a configuration file and returns its path.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestQuickForm(t *testing.T) {
	got, err := load(t, "--port", "name=vm0,socket=/run/vm0.sock", "--port",
		"name=vm1,fd=4,queue-pairs=2,mac=02:00:00:00:00:09,mtu=1500,speed=0,link=down,withhold=mrg_rxbuf:event_idx")
	if err != nil {
		t.Fatal(err)
	}
	a, b := DefaultPort(), DefaultPort()
	a.Name, a.Socket, a.Origin = "vm0", "/run/vm0.sock", "--port name=vm0,socket=/run/vm0.sock"
	b.Name, b.FD, b.QueuePairs, b.MTU, b.Speed, b.LinkUp = "vm1", 4, 2, 1500, 0, false
	b.MAC = virtio.MAC{2, 0, 0, 0, 0, 9}
	b.Withhold = virtio.FeatureMrgRxbuf | virtio.FeatureEventIdx
	b.Origin = got.Ports[1].Origin
	if !slices.Equal(got.Ports, []Port{a, b}) {
		t.Errorf("ports:\n got %+v\nwant %+v", got.Ports, []Port{a, b})
	}
}

func TestQuickFormOfWires(t *testing.T) {
	got, err := load(t, "--port", "name=up0,kind=tap,interface=tap0,netns=/run/netns/x,queue-pairs=4,mtu=9000,link=down,withhold=host_uso",
		"--port", "name=up1,kind=packet,interface=tap0", "--port", "name=pc0,kind=pcap,read=/a,write=/b,pace=times", "--port", "name=pc1,kind=pcap,write=/c")
	if err != nil {
		t.Fatal(err)
	}
	a, b, c, d := DefaultPort(), DefaultPort(), DefaultPort(), DefaultPort()
	c.Name, c.Kind, c.Read, c.Write, c.Pace, c.Origin = "pc0", KindPcap, "/a", "/b", PaceTimes, got.Ports[2].Origin
	d.Name, d.Kind, d.Write, d.Origin = "pc1", KindPcap, "/c", got.Ports[3].Origin
	a.Name, a.Kind, a.Interface, a.Netns, a.QueuePairs, a.MTU, a.LinkUp = "up0", KindTap, "tap0", "/run/netns/x", 4, 9000, false
	a.Withhold = virtio.FeatureHostUSO
	b.Name, b.Kind, b.Interface = "up1", KindPacket, "tap0"
	a.Origin, b.Origin = got.Ports[0].Origin, got.Ports[1].Origin
	if !slices.Equal(got.Ports, []Port{a, b, c, d}) {
		t.Errorf("ports:\n got %+v\nwant %+v", got.Ports, []Port{a, b, c, d})
	}
	for i, want := range []string{"interface tap0 in /run/netns/x", "interface tap0", "from /a, to /b", "to /c"} {
		if place := got.Ports[i].Endpoint(); place != want {
			t.Errorf("Endpoint() = %q, want %q", place, want)
		}
	}
}

func TestQEMUConventions(t *testing.T) {
	want := DefaultPort()
	want.Name = PortName
	byPath, byFD := want, want
	byPath.Socket, byPath.Origin = "/run/x.sock", "--socket-path"
	byFD.FD, byFD.Origin = 5, "--fd"
	for _, tt := range []struct {
		args []string
		want Port
	}{
		{[]string{"--socket-path=/run/x.sock"}, byPath},
		{[]string{"--fd=5"}, byFD},
	} {
		got, err := load(t, tt.args...)
		if err != nil || !slices.Equal(got.Ports, []Port{tt.want}) {
			t.Errorf("%q: got %+v, %v; want %+v", tt.args, got.Ports, err, tt.want)
		}
	}
}

func TestFileAndFlagsTogether(t *testing.T) {
	file := writeFile(t, "shards = 3\nlog-level = 'debug'\n[[port]]\nname = 'vm0'\nsocket = '/run/vm0.sock'\n")
	got, err := load(t, "--config", file, "--shards", "1", "--port", "name=vm1,socket=/run/vm1.sock", "--fd", "7")
	if err != nil {
		t.Fatal(err)
	}
	if got.Shards != 1 {
		t.Errorf("shards %d: the command line did not win over the file", got.Shards)
	}
	if got.LogLevel != "debug" {
		t.Errorf("log-level %q: the file's value is lost", got.LogLevel)
	}
	var names []string
	for _, p := range got.Ports {
		names = append(names, p.Name)
	}
	if want := []string{"vm0", "vm1", PortName}; !slices.Equal(names, want) {
		t.Errorf("ports %v, want %v", names, want)
	}
}

func TestFlagValueEqualToDefaultWinsOverFile(t *testing.T) {
	file := writeFile(t, "poll-us = 7\n")
	got, err := load(t, "--config", file, "--poll-us", "50")
	if err != nil || got.PollMax != Default().PollMax {
		t.Errorf("got %v, %v; want the 50 µs of the command line", got.PollMax, err)
	}
}

func TestCommandLineFaults(t *testing.T) {
	const port = "--port=name=vm0,socket=/run/vm0.sock"
	tests := []struct {
		args []string
		want string // part of the message
	}{
		{nil, "there is no port; describe some with --port"},
		{[]string{"--shards=x"}, `shards: "x" is not a whole number; want 0 to 64`},
		{[]string{"--nonsense"}, "unknown flag: --nonsense"},
		{[]string{"--port=vm0"}, `"vm0" is no KEY=VALUE`},
		{[]string{"--port=name=vm0"}, "port vm0 has neither socket nor fd; add socket, such as socket=/run/vm0.sock"},
		{[]string{"--port=socket=/run/a.sock"}, "the port has no name; add one"},
		{[]string{"--port=name=a,socket=/run/a.sock,fd=3"}, "port a has both socket and fd"},
		{[]string{"--port=name=a,fd=3,mode=client"}, "port a has fd and mode client"},
		{[]string{port + ",qmp-id=nic0"}, "port vm0 has qmp-id and no qmp"},
		{[]string{"--port=name=a,fd=3,qmp=/run/a.qmp"}, "port a has fd and qmp, but no qmp-id; add the id of its NIC"},
		{[]string{port + ",qmp=" + strings.Repeat("x", 108)}, "qmp: "},
		{[]string{"--port=name=a,fd=3,kind=tap,qmp=/x"}, "port a of kind tap has "},
		{[]string{"--port=name=a,name=b,fd=3"}, "name is given twice"},
		{[]string{"--port=name=a,fd=3,queue-pair=3"}, `there is no setting "queue-pair"; did you mean queue-pairs?`},
		{[]string{"--port=name=a,fd=3,queue-pairs=many"}, `queue-pairs: "many" is not a whole number; want 1 to 64`},
		{[]string{"--port=name=a,socket=" + strings.Repeat("x", 108)}, "is too long; want a path of at most 107 bytes"},
		{[]string{port, "--socket-path=/a", "--fd=3"}, "--socket-path and --fd exclude each other"},
		{[]string{"--fd=0"}, `--fd: fd: "0" is out of range`},
		{[]string{"--port=name=up0,kind=tpa"}, `kind: "tpa" is not known; want vhost-user, tap, packet or pcap`},
		{[]string{"--port=name=up0,kind=tap"}, "port up0 of kind tap has no interface; add one, such as interface=up0"},
		{[]string{"--port=name=up0,kind=tap,interface=a/b"}, `interface: "a/b" is malformed; want the name of a network interface`},
		{[]string{"--port=name=up0,kind=tap,interface=sixteen-letters."}, `interface: "sixteen-letters." is too long; want`},
		{[]string{"--port=name=up0,kind=tap,interface=tap0,mac=02:00:00:00:00:01"}, "port up0 of kind tap has mac, which is for ports of kind vhost-user"},
		{[]string{"--port=name=up0,kind=tap,interface=tap0,nvgre=on"}, "port up0 of kind tap has nvgre, which is for ports of kind vhost-user"},
		{[]string{"--port=name=pc0,kind=pcap"}, "port pc0 of kind pcap has neither read nor write; add one, such as write=pc0.pcapng"},
		{[]string{"--port=name=pc0,kind=pcap,read=x,write=./x"}, "port pc0 reads and writes ./x"},
		{[]string{"--port=name=pc0,kind=pcap,write=x,queue-pairs=2"}, "port pc0 of kind pcap has queue-pairs, which is for ports of kind vhost-user, tap or packet"},
		{[]string{"--port=name=pc0,kind=pcap,read=x,pace=fast"}, `pace: "fast" is not known; want full (as fast as`},
		{
			[]string{"--port=name=pc0,kind=pcap,write=x", "--port=name=pc1,kind=pcap,write=./x"},
			"--port name=pc1,kind=pcap,write=./x: port pc1 writes ./x, as port pc0 does, described by --port name=pc0,kind=pcap,write=x",
		},
		{[]string{"--port=name=vm0,socket=x,interface=tap0"}, "port vm0 of kind vhost-user has interface, which is for ports of kind tap or packet"},
		{
			[]string{"--port=name=up0,kind=tap,interface=tap0", "--port=name=up1,kind=packet,interface=tap0"},
			"--port name=up1,kind=packet,interface=tap0: port up1 uses interface tap0, as port up0 does, described by --port name=up0,kind=tap,interface=tap0",
		},
		{[]string{"--socket-path="}, "port port0 has neither socket nor fd"},
		{[]string{port, "--port=name=vm0,socket=/b"}, "--port name=vm0,socket=/b: there is a port vm0 already, described by --port name=vm0,socket=/run/vm0.sock"},
		{[]string{port, "--port=name=vm1,socket=/run//vm0.sock"}, "port vm1 uses socket /run//vm0.sock, as port vm0 does, described by --port name=vm0"},
		{[]string{"--port=name=a,fd=3", "--fd=3"}, "--fd: port port0 uses descriptor 3, as port a does, described by --port name=a,fd=3"},
		{[]string{port + ",oid-cid=2"}, `oid-cid: "2" is out of range; want the context id of a guest, 3 or higher, or 0 for none`},
		{[]string{port + ",rss-version=3"}, `rss-version: "3" is out of range; want 1 or 2`},
		{[]string{port + ",vmq=on"}, "port vm0 has vmq on and 1 queue pair; receive filters need 2 or more"},
		{
			[]string{port + ",oid-cid=7", "--port=name=vm1,socket=/b,oid-cid=7"},
			"--port name=vm1,socket=/b,oid-cid=7: port vm1 has oid-cid 7, as port vm0 has, described by --port name=vm0",
		},
		{[]string{port + ",oid-socket=/x", "--port=name=vm1,socket=/b,oid-socket=/x"}, "port vm1 has oid-socket /x, a socket that port vm0 uses"},
		{[]string{port + ",oid-socket=/run/vm0.sock"}, "port vm0 has oid-socket /run/vm0.sock, a socket that port vm0 uses"},
		{[]string{port, "--control-socket=/run/vm0.sock"}, "port vm0 uses socket /run/vm0.sock, which is also the control socket"},
	}
	for _, tt := range tests {
		_, err := load(t, tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got error %v, want %q in it", tt.args, err, tt.want)
			continue
		}
		if e, ok := errors.AsType[*Error](err); ok && !e.Usage {
			t.Errorf("%q: %v: is taken for a fault of a file", tt.args, err)
		}
	}
}

func TestFileFaults(t *testing.T) {
	file := writeFile(t, "[[port]]\nname = 'vm0'\nsocket = '/run/vm0.sock'\n")
	missing := filepath.Join(t.TempDir(), "missing.toml")
	bad := writeFile(t, "shards = 'x'\n")
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"--config", missing}, "missing.toml: no such file or directory"},
		{[]string{"--config", bad}, "f.toml:1: shards: this is text in quotes"},
		{
			[]string{"--config", file, "--port=name=vm0,fd=3"},
			"--port name=vm0,fd=3: there is a port vm0 already, described by " + file + ":1",
		},
	}
	for _, tt := range tests {
		_, err := load(t, tt.args...)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Usage || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got error %v (%T), want one of a file with %q in it", tt.args, err, err, tt.want)
		}
	}
	if _, err := load(t, "--config", missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v, want one that is fs.ErrNotExist", err)
	}
}

func TestFileWithoutPortsIsEnough(t *testing.T) {
	if _, err := load(t, "--config", writeFile(t, "")); err != nil {
		t.Error(err)
	}
}

func TestLoadAgainReadsTheFileAgain(t *testing.T) {
	file := writeFile(t, "shards = 3\npoll-us = 1\n")
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	var f Flags
	f.Register(set)
	if err := set.Parse([]string{"--config", file, "--shards=1"}); err != nil {
		t.Fatal(err)
	}
	first, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("shards = 5\npoll-us = 2\n[[port]]\nname='a'\nfd=3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	if first.Shards != 1 || second.Shards != 1 {
		t.Errorf("shards %d, then %d; want the command line's 1 both times", first.Shards, second.Shards)
	}
	if first.PollMax == second.PollMax || len(second.Ports) != 1 {
		t.Errorf("the second reading brought %+v, the file's old content", second)
	}
}

// TestHelp shows that --help names each setting with its default.
func TestHelp(t *testing.T) {
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	var f Flags
	f.Register(set)
	usage := set.FlagUsages()
	for _, want := range []string{"--poll-us N", "(default 50)", "--log-level LEVEL", "(default info)", "--port KEY=VALUE", "--config FILE", "--fd N"} {
		if !strings.Contains(usage, want) {
			t.Errorf("--help lacks %q:\n%s", want, usage)
		}
	}
}

// Each offload setting switches what it names and nothing else.
func TestOffloadSettings(t *testing.T) {
	type offloads struct{ nvgre, rxChecksum, lso, uso, rsc, uro bool }
	for arg, want := range map[string]offloads{
		"":                                  {lso: true, uso: true},
		",nvgre=off,rx-checksum=off,lso=on": {lso: true, uso: true},
		",nvgre=on":                         {lso: true, uso: true, nvgre: true},
		",rx-checksum=on":                   {lso: true, uso: true, rxChecksum: true},
		",lso=off":                          {uso: true},
		",uso=off":                          {lso: true},
		",rsc=on":                           {lso: true, uso: true, rsc: true},
		",uro=on":                           {lso: true, uso: true, uro: true},
	} {
		s, err := load(t, "--port", "name=a,fd=3"+arg)
		if err != nil {
			t.Fatal(err)
		}
		p := &s.Ports[0]
		if got := (offloads{p.NVGRE, p.RxChecksum, p.LSO, p.USO, p.RSC, p.URO}); got != want {
			t.Errorf("%q: %+v, want %+v", arg, got, want)
		}
	}
	if _, err := load(t, "--port", "name=a,fd=3,nvgre=yes"); err == nil || !strings.Contains(err.Error(), `nvgre: "yes" is not known; want on or off`) {
		t.Errorf("nvgre=yes: %v", err)
	}
}
