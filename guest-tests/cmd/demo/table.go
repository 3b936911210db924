package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"vhost-user-nvgre/guest-tests/rig"
)

// row is a line of the table.
type row struct {
	what, frontEnd string
	kind           kind
	rate           string  // if it is no rate of traffic
	gbits          float64 // received
	lost           string
	drops          uint64
	queues         queues
}

// kind tells what a row contributes to the summary.
type kind int

const (
	kindOther kind = iota
	kindTCP
	kindUDP
)

func (r *row) result() string {
	if r.rate != "" {
		return r.rate
	}
	return fmt.Sprintf("%.3f Gbit/s", r.gbits)
}

func (r *row) lostWhat() string {
	if r.kind == kindTCP {
		return "retransmits"
	}
	return "lost"
}

// queues counts those that carried the data, at the sender and at the receiver.
type queues struct{ tx, rx int }

// least is the share of a port's packets that a queue must have moved to count
// as used; a stray packet does not.
const least = 20

func queuesUsed(s *rig.Status, from, to string) queues {
	used := func(port, kind string) int {
		p := s.Port(port)
		return p.Used(kind, max(1, p.Total(kind).Packets/least))
	}
	return queues{tx: used(from, rig.TX), rx: used(to, rig.RX)}
}

// lostFrames counts the frames the daemon dropped that somebody wanted. Those
// that a port's own receive filter turned away are left out: not delivering
// them is what it is for.
func lostFrames(s *rig.Status) (n uint64) {
	for why, k := range s.Drops() {
		if why != "rx_filter" {
			n += k
		}
	}
	return n
}

func printTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nWHAT\tFRONT END\tRATE\tRETRANSMITS\tLOST\tDROPS\tQUEUES USED")
	for _, r := range rows {
		retransmits, lost := "-", r.lost
		if r.kind == kindTCP {
			retransmits, lost = lost, "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d tx, %d rx\n",
			r.what, r.frontEnd, r.result(), retransmits, lost, r.drops, r.queues.tx, r.queues.rx)
	}
	_ = t.Flush() // To standard output: nobody is left to tell.
	fmt.Fprintln(w)
}

// summary is the last line: the best TCP and UDP rates of the table, and the sum of
// its drops.
func (d *demo) summary() string {
	var tcp, udp float64
	var drops uint64
	for _, r := range d.rows {
		switch r.kind {
		case kindTCP:
			tcp = max(tcp, r.gbits)
		case kindUDP:
			udp = max(udp, r.gbits)
		}
		drops += r.drops
	}
	return fmt.Sprintf("demo: ok tcp=%.3f udp=%.3f drops=%d", tcp, udp, drops)
}
