package harness

import (
	"fmt"
	"strings"

	"vhost-user-nvgre/guest-tests/lab"
)

// commandLine writes properties the way QEMU's options take them. The value of
// the first one, the type or driver, stands alone.
func commandLine(props []prop) string {
	var b strings.Builder
	for i, p := range props {
		if i > 0 {
			b.WriteString("," + p.key + "=")
		}
		switch v := p.value.(type) {
		case bool:
			b.WriteString(onOff(v))
		default:
			// A comma would end the value; doubled it stands for itself.
			b.WriteString(strings.ReplaceAll(fmt.Sprint(v), ",", ",,"))
		}
	}
	return b.String()
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

// arguments turns properties into the arguments of a QMP command.
func arguments(props []prop) map[string]any {
	args := make(map[string]any)
	for _, p := range props {
		into := args
		path := strings.Split(p.key, ".")
		for _, k := range path[:len(path)-1] {
			next, ok := into[k].(map[string]any)
			if !ok {
				next = make(map[string]any)
				into[k] = next
			}
			into = next
		}
		into[path[len(path)-1]] = p.value
	}
	return args
}

// reconnect returns the option for trying again. Its unit changed from seconds
// to milliseconds, under another name, in 9.2; the old name went in 11.0.
func (c *chardev) reconnect(q *lab.QEMU) (name string, value int) {
	if q.AtLeast(9, 2) {
		return "reconnect-ms", c.reconnectMS
	}
	return "reconnect", (c.reconnectMS + 999) / 1000
}

func (c *chardev) commandLine(q *lab.QEMU) string {
	props := []prop{{"", "socket"}, {"id", c.id}, {"path", c.path}}
	if c.server {
		props = append(props, prop{"server", true}, prop{"wait", c.wait})
	}
	if c.reconnectMS > 0 {
		name, value := c.reconnect(q)
		props = append(props, prop{name, value})
	}
	return commandLine(props)
}

func (c *chardev) arguments(q *lab.QEMU) map[string]any {
	socket := map[string]any{
		"addr":   map[string]any{"type": "unix", "data": map[string]any{"path": c.path}},
		"server": c.server,
	}
	if c.server {
		socket["wait"] = c.wait
	}
	if c.reconnectMS > 0 {
		name, value := c.reconnect(q)
		socket[name] = value
	}
	return map[string]any{"id": c.id, "backend": map[string]any{"type": "socket", "data": socket}}
}
