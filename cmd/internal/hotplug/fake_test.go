package hotplug

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"vhost-user-nvgre/cmd/qmp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeQEMU is a QEMU as far as NICs go. It says what QEMU 7.2 and 11.1 say,
// word by word.
type fakeQEMU struct {
	version [3]int
	kvm     bool
	memory  string // results of query-memdev, qom-get memory-backend and type, query-memory-devices
	backend string
	memType string
	dimms   string
	noTest  bool // no vhost-user-test-device-pci
	q35     bool // the root bus takes nothing at run time
	guest   string
	never   bool // the daemon does not connect

	mu       sync.Mutex
	conn     net.Conn
	chardevs map[string]map[string]any // arguments of chardev-add
	busy     map[string]int            // how often chardev-remove is refused yet
	netdevs  map[string]map[string]any
	devices  map[string]map[string]any
	said     []string // commands, as "name arguments"
	// onCommand is called before a command is done; what it returns is said
	// instead of doing it, unless it is "".
	onCommand func(n int, name string) string
}

// What the guest does when it is asked to let go of a device.
const (
	lets    = ""
	refuses = "refuses"
	ignores = "ignores"
	another = "lets go of another one"
)

// What onCommand may return besides the description of an error.
const (
	effectOnly = "effect only" // do it, say nothing
	hangUp     = "hang up"
)

func newFake() *fakeQEMU {
	return &fakeQEMU{
		version: [3]int{11, 1, 3}, kvm: true,
		memory: `[{"id": "mem", "share": true, "size": 1}]`, backend: "/objects/mem", memType: "memory-backend-memfd", dimms: `[]`,
		chardevs: map[string]map[string]any{}, netdevs: map[string]map[string]any{}, devices: map[string]map[string]any{},
		busy: map[string]int{},
	}
}

// connect serves one client, which it returns.
func (f *fakeQEMU) connect(t *testing.T) *QEMU {
	t.Helper()
	a, b := net.Pipe()
	f.conn = a
	var wg sync.WaitGroup
	wg.Go(func() { f.serve(a) })
	c := qmp.New(b, qmp.Options{})
	t.Cleanup(func() {
		_ = c.Disconnect() // The server may have gone first.
		a.Close()
		wg.Wait()
	})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	return New(c)
}

func (f *fakeQEMU) serve(conn net.Conn) {
	fmt.Fprintf(conn, `{"QMP": {"version": {"qemu": {"major": %d, "minor": %d, "micro": %d}, "package": ""}, "capabilities": []}}`+"\r\n",
		f.version[0], f.version[1], f.version[2])
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	for n := -1; lines.Scan(); n++ { // qmp_capabilities is -1
		var cmd struct {
			Execute   string          `json:"execute"`
			Arguments json.RawMessage `json:"arguments"`
			ID        json.RawMessage `json:"id"`
		}
		if json.Unmarshal(lines.Bytes(), &cmd) != nil {
			return
		}
		reply, after := f.do(n, cmd.Execute, cmd.Arguments)
		if reply == hangUp {
			conn.Close()
			return
		}
		if reply != "" {
			fmt.Fprintf(conn, "{%s, \"id\": %s}\r\n", reply, cmd.ID)
		}
		if after != "" {
			fmt.Fprintf(conn, "%s\r\n", after)
		}
	}
}

// do returns the answer to a command and an event that follows.
func (f *fakeQEMU) do(n int, name string, raw json.RawMessage) (reply, event string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n >= 0 {
		f.said = append(f.said, strings.TrimSpace(name+" "+string(raw)))
	}
	what := ""
	if f.onCommand != nil && n >= 0 {
		what = f.onCommand(n, name)
	}
	switch what {
	case "", effectOnly:
	case hangUp:
		return hangUp, ""
	default:
		return failure("GenericError", "%s", what), ""
	}
	var args map[string]any
	_ = json.Unmarshal(raw, &args) // There may be none.
	reply, event = f.effect(name, args)
	if what == effectOnly {
		return "", event
	}
	return reply, event
}

func failure(class, format string, args ...any) string {
	desc, _ := json.Marshal(fmt.Sprintf(format, args...)) // A string always can be.
	return fmt.Sprintf(`"error": {"class": %q, "desc": %s}`, class, desc)
}

const done = `"return": {}`

func (f *fakeQEMU) effect(name string, args map[string]any) (reply, event string) {
	id, _ := args["id"].(string)
	switch name {
	case "qmp_capabilities":
		return done, ""
	case "query-memdev":
		return `"return": ` + f.memory, ""
	case "query-memory-devices":
		return `"return": ` + f.dimms, ""
	case "query-kvm":
		return fmt.Sprintf(`"return": {"enabled": %v, "present": true}`, f.kvm), ""
	case "device-list-properties":
		if f.noTest {
			return failure("DeviceNotFound", "Device '%s' not found", args["typename"]), ""
		}
		return `"return": []`, ""
	case "qom-get":
		return f.get(args["path"].(string), args["property"].(string)), ""
	case "qom-list":
		return f.list(args["path"].(string)), ""
	case "human-monitor-command":
		text, _ := json.Marshal(f.network())
		return `"return": ` + string(text), ""
	case "chardev-add":
		if f.chardevs[id] != nil {
			return failure("GenericError", "Chardev with id '%s' already exists", id), ""
		}
		f.chardevs[id] = args
	case "chardev-remove":
		switch {
		case f.chardevs[id] == nil:
			return failure("GenericError", "Chardev '%s' not found", id), ""
		case f.busy[id] > 0:
			f.busy[id]--
			return failure("GenericError", "Chardev '%s' is busy", id), ""
		case f.uses("chardev", id):
			return failure("GenericError", "Chardev '%s' is busy", id), ""
		}
		delete(f.chardevs, id)
	case "netdev_add":
		switch {
		case f.netdevs[id] != nil:
			return failure("GenericError", "Duplicate ID '%s'", id), ""
		case f.chardevs[args["chardev"].(string)] == nil:
			return failure("GenericError", "chardev \"%s\" not found", args["chardev"]), ""
		}
		f.netdevs[id] = args
	case "netdev_del":
		if f.netdevs[id] == nil {
			return failure("DeviceNotFound", "Device '%s' not found", id), ""
		}
		delete(f.netdevs, id)
	case "device_add":
		if f.q35 && args["bus"] == nil {
			return failure("GenericError", "Bus 'pcie.0' does not support hotplugging"), ""
		}
		f.devices[id] = args
	case "device_del":
		if f.devices[id] == nil {
			return failure("DeviceNotFound", "Device '%s' not found", id), ""
		}
		switch f.guest {
		case refuses:
			return done, fmt.Sprintf(`{"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": %q, "path": "/machine/peripheral/%s"}, "timestamp": {"seconds": 1, "microseconds": 1}}`, id, id)
		case ignores:
			return done, ""
		case another:
			return done, `{"event": "DEVICE_DELETED", "data": {"device": "other", "path": "/machine/peripheral/other"}, "timestamp": {"seconds": 1, "microseconds": 1}}`
		}
		delete(f.devices, id)
		// The transport's child goes first, and has no id.
		return done, fmt.Sprintf(`{"event": "DEVICE_DELETED", "data": {"path": "/machine/peripheral/%[1]s/virtio-backend"}, "timestamp": {"seconds": 1, "microseconds": 1}}`+"\r\n"+
			`{"event": "DEVICE_DELETED", "data": {"device": "%[1]s", "path": "/machine/peripheral/%[1]s"}, "timestamp": {"seconds": 1, "microseconds": 1}}`, id)
	default:
		return failure("CommandNotFound", "The command %s has not been found", name), ""
	}
	return done, ""
}

// uses tells whether a netdev or a device has a chardev.
func (f *fakeQEMU) uses(property, id string) bool {
	for _, objects := range []map[string]map[string]any{f.netdevs, f.devices} {
		for _, o := range objects {
			if o[property] == id {
				return true
			}
		}
	}
	return false
}

func (f *fakeQEMU) get(path, property string) string {
	value := func(v any) string {
		text, _ := json.Marshal(v)
		return `"return": ` + string(text)
	}
	folder, name := path[:strings.LastIndex(path, "/")+1], path[strings.LastIndex(path, "/")+1:]
	switch {
	case path == "/machine" && property == "memory-backend":
		return value(f.backend)
	case folder == "/objects/" && property == "type":
		return value(f.memType)
	case folder == "/chardevs/" && f.chardevs[name] != nil:
		if property == "connected" {
			return value(!f.never)
		}
		data := f.chardevs[name]["backend"].(map[string]any)["data"].(map[string]any)["addr"].(map[string]any)["data"].(map[string]any)
		return value(map[string]any{"type": "unix", "path": data["path"]})
	case folder == "/machine/peripheral/" && f.devices[name] != nil:
		if v := f.devices[name][property]; v != nil {
			return value(v)
		}
		return value("")
	}
	return failure("DeviceNotFound", "Device '%s' not found", path)
}

func (f *fakeQEMU) list(path string) string {
	children := []string{`{"name": "type", "type": "string"}`}
	if path == "/machine/peripheral" {
		for _, id := range slices.Sorted(maps.Keys(f.devices)) {
			children = append(children, fmt.Sprintf(`{"name": %q, "type": "child<%s>"}`, id, f.devices[id]["driver"]))
		}
	}
	if bus := path[strings.LastIndex(path, "/")+1:]; path == "/machine/peripheral/"+bus+"/"+bus {
		for _, id := range slices.Sorted(maps.Keys(f.devices)) {
			if f.devices[id]["bus"] == bus {
				children = append(children, fmt.Sprintf(`{"name": "child[0]", "type": "link<%s>"}`, f.devices[id]["driver"]))
			}
		}
	}
	return `"return": [` + strings.Join(children, ", ") + "]"
}

// network is what "info network" prints.
func (f *fakeQEMU) network() string {
	var b strings.Builder
	backend := func(prefix, id string, n int) {
		fmt.Fprintf(&b, "%s%s: index=%d,type=vhost-user,vhost-user%d to %s\r\n", prefix, id, n, n, f.netdevs[id]["chardev"])
	}
	free := maps.Clone(f.netdevs)
	for _, id := range slices.Sorted(maps.Keys(f.devices)) {
		netdev, _ := f.devices[id]["netdev"].(string)
		if f.netdevs[netdev] == nil {
			continue
		}
		delete(free, netdev)
		for n := range int(f.netdevs[netdev]["queues"].(float64)) {
			fmt.Fprintf(&b, "%s: index=%d,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\r\n", id, n)
			backend(" \\ ", netdev, n)
		}
	}
	for id := range free {
		backend("", id, 0)
	}
	return b.String()
}

// left returns what there is of NICs.
func (f *fakeQEMU) left() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for kind, objects := range map[string]map[string]map[string]any{"chardev": f.chardevs, "netdev": f.netdevs, "device": f.devices} {
		for id := range objects {
			all = append(all, kind+" "+id)
		}
	}
	slices.Sort(all)
	return all
}

// changes returns the commands that change something, in order.
func (f *fakeQEMU) changes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var some []string
	for _, s := range f.said {
		name, _, _ := strings.Cut(s, " ")
		if strings.HasSuffix(name, "add") || strings.HasSuffix(name, "del") || strings.HasSuffix(name, "remove") {
			some = append(some, s)
		}
	}
	return some
}
