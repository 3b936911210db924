package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"vhost-user-nvgre/cmd/internal/control"
)

// renderFilter prints which frames a driver wants. A daemon that does not say
// it gets no line.
func renderFilter(w io.Writer, f *control.RXFilter) {
	if f == nil {
		return
	}
	from := "not known, so all frames are taken"
	switch f.Source {
	case "control queue":
		from = "by the control queue: " + wanted(f)
	case "qmp":
		from = "by QMP from " + f.NIC + ": " + wanted(f)
	}
	fmt.Fprintf(w, "  rx filter  %s\n", from)
	if f.Error != "" {
		fmt.Fprintf(w, "  qmp        %s\n", f.Error)
	}
}

// wanted says in words what a filter lets through.
func wanted(f *control.RXFilter) string {
	if f.Promiscuous {
		return "all frames (promiscuous)"
	}
	parts := []string{
		unicastWanted(f), multicastWanted(f),
		"broadcast",
	}
	if !f.Broadcast {
		parts[2] = "no broadcast"
	}
	return strings.Join(append(parts, vlansWanted(f)), ", ")
}

func unicastWanted(f *control.RXFilter) string {
	switch {
	case f.Unicast == "all":
		return "all unicast"
	case f.Unicast == "none":
		return "no unicast"
	case len(f.UnicastTable) == 0:
		return "its own address"
	}
	return fmt.Sprintf("its own address and %d more", len(f.UnicastTable))
}

func multicastWanted(f *control.RXFilter) string {
	switch {
	case f.Multicast == "all":
		return "all multicast"
	case f.Multicast == "none", len(f.MulticastTable) == 0:
		return "no multicast"
	}
	return count(len(f.MulticastTable), "multicast address")
}

// maxVLANs is how many VLANs are named.
const maxVLANs = 16

func vlansWanted(f *control.RXFilter) string {
	switch {
	case !f.VLANFilter:
		return "all VLANs"
	case len(f.VLANs) == 0:
		return "no VLANs"
	case len(f.VLANs) > maxVLANs:
		return fmt.Sprintf("%d VLANs", len(f.VLANs))
	}
	ids := make([]string, len(f.VLANs))
	for i, id := range f.VLANs {
		ids[i] = strconv.Itoa(id)
	}
	return "VLAN " + strings.Join(ids, " ")
}
