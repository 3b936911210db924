package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"vhost-user-nvgre/cmd/internal/control"
)

// render prints all of a status as it is at the time now.
func render(w io.Writer, s *control.Status, now time.Time) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "vhost-user-nvgre %s, process %d, up %s, %s, %s\n", s.Version, s.PID,
		span(now.Sub(s.StartedAt)), count(s.Shards, "shard"), count(len(s.Ports), "port"))
	if len(s.Ports) > 0 {
		fmt.Fprintln(b)
		overview(b, s.Ports)
	}
	if len(s.ShardLoad) > 0 {
		fmt.Fprintln(b)
		shards(b, s.ShardLoad)
	}
	for i := range s.Ports {
		fmt.Fprintln(b)
		renderPort(b, &s.Ports[i], now)
	}
	fmt.Fprintf(b, "\nMAC table: %d of %s\n", len(s.MACTable), count(s.MACCapacity, "address"))
	macTable(b, s.MACTable)
	return b.Flush()
}

// renderOnly prints what concerns one port.
func renderOnly(w io.Writer, s *control.Status, p *control.Port, now time.Time) error {
	b := bufio.NewWriter(w)
	renderPort(b, p, now)
	macs := slices.DeleteFunc(slices.Clone(s.MACTable), func(m control.MACEntry) bool { return m.Port != p.Name })
	fmt.Fprintf(b, "\nMAC table: %s behind this port\n", count(len(macs), "address"))
	macTable(b, macs)
	return b.Flush()
}

// overview prints a line a port.
func overview(w io.Writer, ports []control.Port) {
	t := table{}
	t.row("PORT", "LINK", "FRONT END", "MAC", ">PAIRS", ">RX PACKETS", ">TX PACKETS", ">DROPS", "PLACE")
	for i := range ports {
		p := &ports[i]
		var rx, tx, drops uint64
		for _, q := range p.Queues {
			switch q.Kind {
			case "rx":
				rx += q.Packets
			case "tx":
				tx += q.Packets
			}
			for _, n := range q.Drops {
				drops += n
			}
		}
		t.row(p.Name, link(p), present(p), cmp.Or(p.MAC, "-"), fmt.Sprintf("%d of %d", p.QueuePairsInUse, p.QueuePairs),
			number(rx), number(tx), number(drops), endpoint(p))
	}
	t.print(w)
}

// shards prints a line a worker thread, with what it did since it began.
func shards(w io.Writer, all []control.Shard) {
	t := table{}
	t.row(">SHARD", ">PROCESSOR", ">BUSY", ">POLLING", ">ASLEEP", ">WAKE-UPS", ">FRAMES")
	for _, s := range all {
		cpu := "any"
		if s.CPU >= 0 {
			cpu = strconv.Itoa(s.CPU)
		}
		sum := float64(max(1, s.BusyNS+s.PollingNS+s.AsleepNS))
		t.row(strconv.Itoa(s.ID), cpu, percent(float64(s.BusyNS)/sum), percent(float64(s.PollingNS)/sum), percent(float64(s.AsleepNS)/sum),
			number(s.Wakeups), number(s.Frames))
	}
	t.print(w)
}

func renderPort(w io.Writer, p *control.Port, now time.Time) {
	if isWire(p) {
		renderWire(w, p)
	} else {
		renderNIC(w, p, now)
	}
	renderQueues(w, p)
}

// isWire reports whether the port leads to something that is no guest. A
// daemon that knows no such ports does not name their kind.
func isWire(p *control.Port) bool { return p.Kind != "" && p.Kind != "vhost-user" }

// renderWire prints what is particular to ports without a driver.
func renderWire(w io.Writer, p *control.Port) {
	mtu := "not limited"
	if p.MTU != 0 {
		mtu = strconv.Itoa(p.MTU)
	}
	fmt.Fprintf(w, "port %s: link %s, %s, %s, mtu %s, %d of %s in use\n", p.Name, link(p), p.Kind, p.Place, mtu,
		p.QueuePairsInUse, count(p.QueuePairs, "queue pair"))
	wrap(w, "  features   ", orDash(p.Negotiated))
}

// renderNIC prints what is particular to ports of guests.
func renderNIC(w io.Writer, p *control.Port, now time.Time) {
	fmt.Fprintf(w, "port %s: link %s, mac %s, mtu %s, speed %s, %d of %s in use\n", p.Name, link(p), p.MAC,
		told(p.MTU, ""), told(p.Speed, " Mbit/s"), p.QueuePairsInUse, count(p.QueuePairs, "queue pair"))
	fmt.Fprintf(w, "  socket     %s\n", endpoint(p))
	fmt.Fprintf(w, "  front end  %s\n", frontEnd(&p.FrontEnd, now))
	if p.FrontEnd.LastEnd != "" {
		fmt.Fprintf(w, "  last end   %s%s\n", p.FrontEnd.LastEnd, ago(p.FrontEnd.LastEndAt, now))
	}
	wrap(w, "  offloads   ", orDash(p.Offloads))
	if p.FrontEnd.Connected {
		wrap(w, "  protocol   ", orDash(p.FrontEnd.ProtocolFeatures))
		wrap(w, "  features   ", orDash(p.Negotiated))
		wrap(w, "  not taken  ", orDash(without(p.Offered, p.Negotiated)))
		fmt.Fprintf(w, "  ctrl queue served by the %s\n", p.ControlQueue)
		renderFilter(w, p.RXFilter)
	} else {
		wrap(w, "  offered    ", orDash(p.Offered))
	}
}

func renderQueues(w io.Writer, p *control.Port) {
	if len(p.Queues) == 0 {
		return
	}
	t := table{indent: "  "}
	t.row(">QUEUE", "KIND", "STATE", ">SIZE", ">SHARD", ">PACKETS", ">BYTES", ">KICKS", ">CALLS", ">WAITED", "DROPS")
	for _, q := range p.Queues {
		shard := "-"
		if q.Shard >= 0 {
			shard = strconv.Itoa(q.Shard)
		}
		t.row(strconv.Itoa(q.Index), q.Kind, q.State, strconv.Itoa(q.Size), shard,
			number(q.Packets), number(q.Bytes), number(q.Kicks), number(q.Calls), number(q.Waited), drops(q.Drops))
	}
	t.print(w)
	for _, q := range p.Queues {
		if c := q.Checksums; c != nil {
			fmt.Fprintf(w, "  queue %d checksums: outer IP %s, inner IP %s, transport %s\n", q.Index,
				checksums(c.OuterIP), checksums(c.InnerIP), checksums(c.Transport))
		}
		if c := q.Coalescing; c != nil {
			fmt.Fprintf(w, "  queue %d coalescing: TCP %d packets, %d octets, %d events, %d aborts; UDP %d packets, %d octets, %d events\n", q.Index,
				c.Packets, c.Octets, c.Events, c.Aborts, c.UDPPackets, c.UDPOctets, c.UDPEvents)
		}
		if q.Reason != "" {
			fmt.Fprintf(w, "  queue %d is %s: %s\n", q.Index, q.State, q.Reason)
		}
	}
}

// checksums prints counts by state, those that are 0 left out.
func checksums(s control.ChecksumStates) string {
	var parts []string
	for _, c := range []struct {
		n    uint64
		what string
	}{{s.Good, "good"}, {s.Bad, "bad"}, {s.NotChecked, "not checked"}} {
		if c.n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(orDash(parts), " ")
}

func macTable(w io.Writer, entries []control.MACEntry) {
	if len(entries) == 0 {
		return
	}
	t := table{indent: "  "}
	t.row("MAC", ">VLAN", "PORT", ">SECONDS AGO")
	for _, e := range entries {
		vlan := "-"
		if e.VLAN != 0 {
			vlan = strconv.Itoa(e.VLAN)
		}
		t.row(e.MAC, vlan, e.Port, strconv.Itoa(e.Age))
	}
	t.print(w)
}

func frontEnd(f *control.FrontEnd, now time.Time) string {
	if !f.Connected {
		return "none, " + count(int(f.Sessions), "session") + " so far"
	}
	who := "connected"
	if f.PID != 0 {
		who = fmt.Sprintf("process %d connected", f.PID)
	}
	return fmt.Sprintf("%s%s, session %d, %s of memory in %s", who, ago(f.ConnectedAt, now), f.Sessions,
		size(f.MemoryBytes), count(f.MemoryRegions, "region"))
}

func link(p *control.Port) string {
	if p.LinkUp {
		return "up"
	}
	return "down"
}

func present(p *control.Port) string {
	if isWire(p) {
		return "-"
	}
	if p.FrontEnd.Connected {
		return "connected"
	}
	return "none"
}

func endpoint(p *control.Port) string {
	if isWire(p) {
		return p.Place
	}
	if p.Socket == "" {
		return fmt.Sprintf("fd %d", p.FD)
	}
	return fmt.Sprintf("%s (%s)", p.Socket, p.Mode)
}

// drops prints counts by reason, the largest first.
func drops(m map[string]uint64) string {
	reasons := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if m[a] != m[b] {
			if m[a] > m[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for i, r := range reasons {
		reasons[i] = r + "=" + number(m[r])
	}
	return strings.Join(orDash(reasons), " ")
}

// without returns the elements of all that are not in some.
func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

func orDash(words []string) []string {
	if len(words) == 0 {
		return []string{"-"}
	}
	return words
}

// told prints what the driver is told, where 0 is nothing.
func told(n int, unit string) string {
	if n == 0 {
		return "not told"
	}
	return strconv.Itoa(n) + unit
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// count returns "1 port", "2 ports" and the like.
func count(n int, what string) string {
	if n != 1 {
		if strings.HasSuffix(what, "s") {
			what += "e"
		}
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// size prints bytes with a unit.
func size(n uint64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/step, 0
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for v >= step && unit < len(units)-1 {
		v, unit = v/step, unit+1
	}
	return fmt.Sprintf("%.4g %s", v, units[unit])
}

// span prints a duration to the second.
func span(d time.Duration) string { return max(0, d).Truncate(time.Second).String() }

// ago prints how long ago something was, nothing when it never was.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return " " + span(now.Sub(*t)) + " ago"
}
