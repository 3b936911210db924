// Package qmptest plays a QEMU with NICs for tests of what asks one by QMP: it
// answers on a Unix socket as QEMU's monitor does, one client at a time.
package qmptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
)

// NIC is a network device of the QEMU.
type NIC struct {
	// ID of the device, which has no other name.
	ID string
	// Driver is virtio-net-pci if empty.
	Driver string
	// Socket is the path of its chardev.
	Socket string
}

// Filter is what query-rx-filter returns of a NIC, by member.
type Filter map[string]any

// ResetFilter returns what virtio_net_reset in hw/net/virtio-net.c of QEMU
// leaves.
func ResetFilter() Filter {
	return Filter{
		"promiscuous": true, "unicast": "normal", "multicast": "normal", "vlan": "all",
		"broadcast-allowed": false, "unicast-overflow": false, "multicast-overflow": false,
		"main-mac": "52:54:00:00:00:01", "unicast-table": []string{}, "multicast-table": []string{}, "vlan-table": []int{},
	}
}

// With returns the filter with some members in place of its own.
func (f Filter) With(some Filter) Filter {
	out := maps.Clone(f)
	maps.Copy(out, some)
	return out
}

// nic is a NIC and what QEMU keeps for it.
type nic struct {
	NIC
	filter Filter
	armed  bool // the next change of the filter sends the event
}

// QEMU is the play. Its methods may be called by any goroutine.
type QEMU struct {
	t        testing.TB
	path     string
	listener net.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex
	nics    []*nic
	conn    net.Conn // the client served
	queries int
}

// Start listens at path until the test ends or Stop.
func Start(t testing.TB, path string, nics ...NIC) *QEMU {
	t.Helper()
	q := &QEMU{t: t, path: path}
	for _, n := range nics {
		q.Add(n)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	q.listener = l
	q.serving.Go(q.accept)
	t.Cleanup(q.Stop)
	return q
}

// Stop ends it, as QEMU does: the socket vanishes and the client is cut off.
func (q *QEMU) Stop() {
	q.listener.Close()
	q.Hangup()
	q.serving.Wait()
	os.Remove(q.path) //nolint:errcheck // The listener has removed it.
}

// Hangup cuts the client off that is there.
func (q *QEMU) Hangup() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.conn != nil {
		q.conn.Close()
	}
}

// Add gives it a NIC.
func (q *QEMU) Add(n NIC) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n.Driver == "" {
		n.Driver = "virtio-net-pci"
	}
	q.nics = append(q.nics, &nic{NIC: n, filter: ResetFilter(), armed: true})
}

// Remove takes a NIC away, and says so.
func (q *QEMU) Remove(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, n := range q.nics {
		if n.ID == id {
			q.nics = append(q.nics[:i:i], q.nics[i+1:]...)
			break
		}
	}
	q.event("DEVICE_DELETED", map[string]any{"device": id, "path": "/machine/peripheral/" + id})
}

// Change changes a NIC's filter as its driver does: with an event, if none was
// sent since the last query.
func (q *QEMU) Change(id string, f Filter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := q.find(id); n.armed {
		n.armed = false
		n.filter = f
		q.event("NIC_RX_FILTER_CHANGED", map[string]any{"name": id, "path": "/machine/peripheral/" + id + "/virtio-backend"})
	} else {
		n.filter = f
	}
}

// Reset changes a NIC's filter as a reset of the device does, without an event.
func (q *QEMU) Reset(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.find(id).filter = ResetFilter()
}

// Queries returns how often filters were asked for.
func (q *QEMU) Queries() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queries
}

// find returns a NIC. The caller holds mu.
func (q *QEMU) find(id string) *nic {
	for _, n := range q.nics {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// event sends an event to the client. The caller holds mu.
func (q *QEMU) event(name string, data map[string]any) {
	if q.conn == nil {
		return
	}
	q.say(map[string]any{"event": name, "data": data, "timestamp": map[string]int{"seconds": 1, "microseconds": 2}})
}

// say sends a line. The caller holds mu.
func (q *QEMU) say(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		q.t.Errorf("qmptest: %v", err)
		return
	}
	_, _ = q.conn.Write(append(line, "\r\n"...)) // The client may have gone.
}

func (q *QEMU) accept() {
	for {
		c, err := q.listener.Accept()
		if err != nil {
			return
		}
		q.mu.Lock()
		q.conn = c
		q.say(map[string]any{"QMP": map[string]any{
			"version":      map[string]any{"qemu": map[string]int{"major": 11, "minor": 1, "micro": 3}, "package": ""},
			"capabilities": []string{},
		}})
		q.mu.Unlock()
		q.serve(c)
		q.mu.Lock()
		q.conn = nil
		q.mu.Unlock()
		c.Close()
	}
}

func (q *QEMU) serve(c net.Conn) {
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		var cmd struct {
			Execute   string          `json:"execute"`
			Arguments map[string]any  `json:"arguments"`
			ID        json.RawMessage `json:"id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &cmd); err != nil {
			q.t.Errorf("qmptest: %q: %v", lines.Bytes(), err)
			return
		}
		q.mu.Lock()
		result, desc := q.do(cmd.Execute, cmd.Arguments)
		if desc != "" {
			q.say(map[string]any{"error": map[string]string{"class": "GenericError", "desc": desc}, "id": cmd.ID})
		} else {
			q.say(map[string]any{"return": result, "id": cmd.ID})
		}
		q.mu.Unlock()
	}
}

// do carries a command out. The caller holds mu.
func (q *QEMU) do(name string, args map[string]any) (result any, desc string) {
	text := func(key string) string { s, _ := args[key].(string); return s }
	switch name {
	case "qmp_capabilities":
		return struct{}{}, ""
	case "qom-list":
		children := []map[string]string{}
		if text("path") == "/machine/peripheral" {
			for _, n := range q.nics {
				children = append(children, map[string]string{"name": n.ID, "type": "child<" + n.Driver + ">"})
			}
		}
		return children, ""
	case "qom-get":
		return q.get(text("path"), text("property"))
	case "human-monitor-command":
		return q.network(), ""
	case "query-rx-filter":
		q.queries++
		n := q.find(text("name"))
		if n == nil {
			return nil, fmt.Sprintf("invalid net client name: %s", text("name"))
		}
		n.armed = true
		return []Filter{n.filter.With(Filter{"name": n.ID})}, ""
	}
	return nil, fmt.Sprintf("The command %s has not been found", name)
}

func (q *QEMU) get(path, property string) (value any, desc string) {
	folder, name := path[:strings.LastIndex(path, "/")+1], path[strings.LastIndex(path, "/")+1:]
	n := q.find(strings.TrimSuffix(name, "-chr"))
	switch {
	case n == nil:
		return nil, fmt.Sprintf("Device '%s' not found", path)
	case folder == "/machine/peripheral/" && property == "netdev":
		return n.ID + "-net", ""
	case folder == "/machine/peripheral/" && property == "chardev":
		return n.ID + "-chr", ""
	case folder == "/machine/peripheral/" && property == "virtio-id":
		return 1, ""
	case folder == "/chardevs/" && property == "addr":
		return map[string]string{"type": "unix", "path": n.Socket}, ""
	case folder == "/chardevs/" && property == "connected":
		return true, ""
	}
	return nil, fmt.Sprintf("Property '%s.%s' not found", path, property)
}

// network returns what "info network" prints.
func (q *QEMU) network() string {
	var b strings.Builder
	for _, n := range q.nics {
		if strings.HasPrefix(n.Driver, "virtio-net") {
			fmt.Fprintf(&b, "%s: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\r\n \\ %[1]s-net: index=0,type=vhost-user,vhost-user0 to %[1]s-chr\r\n", n.ID)
		}
	}
	return b.String()
}
