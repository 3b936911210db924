package oidcli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
)

// ShowOffloads prints a table of offloads: what the hardware has for the
// driver that is there, and what is configured; and, if operational is not
// nil, which of its names are in it.
func ShowOffloads(ctx context.Context, c *oid.Client, w io.Writer, operational []string) error {
	var hw, now ndis.Offload
	if err := c.Query(ctx, ndis.OIDTCPOffloadHardwareCaps, &hw); err != nil {
		return err
	}
	if err := c.Query(ctx, ndis.OIDTCPOffloadCurrentConfig, &now); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	head := "OFFLOAD\tHARDWARE\tCONFIGURED"
	if operational != nil {
		head += "\tOPERATIONAL"
	}
	fmt.Fprintln(t, head)
	have, are := offloads(&hw), offloads(&now)
	nothing := true
	for i, row := range have {
		nothing = nothing && row.value == "-"
		fmt.Fprintf(t, "%s\t%s\t%s", row.name, row.value, are[i].value)
		if operational != nil {
			state := inForce(operational, row.status)
			if row.value == "-" {
				state = "-" // the driver has not negotiated it
			}
			fmt.Fprintf(t, "\t%s", state)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil || !nothing {
		return err
	}
	_, err := fmt.Fprintln(w, "\nNo driver has negotiated an offload: there is nothing to configure yet.")
	return err
}

// inForce returns how an offload stands in a port's status.
func inForce(operational []string, name string) string {
	if name == "" {
		return "on" // which is done for whoever asks
	}
	for _, o := range operational {
		if families, ok := strings.CutPrefix(o, name+":"); ok {
			return families
		}
	}
	if !slices.Contains(operational, name) {
		return "-"
	}
	if strings.HasPrefix(name, "nvgre") {
		return "all"
	}
	return "on"
}

// row is an offload, with its name in a port's status.
type row struct{ name, status, value string }

// offloads lists what there is, always in the same order.
func offloads(o *ndis.Offload) []row {
	on := func(yes bool) string {
		if yes {
			return "on"
		}
		return "-"
	}
	families := func(m ndis.Families) string {
		switch m {
		case 0:
			return "-"
		case ndis.AllFamilies:
			return "all"
		}
		return strings.ReplaceAll(strings.ToLower(m.String()), "|", "+")
	}
	c, g := &o.Checksum, &o.GRE
	return []row{
		{"transmit checksum IPv4", "", on(c.IPv4Transmit.IPChecksum.On())},
		{"transmit checksum TCP/IPv4", "", on(c.IPv4Transmit.TCPChecksum.On())},
		{"transmit checksum UDP/IPv4", "", on(c.IPv4Transmit.UDPChecksum.On())},
		{"transmit checksum TCP/IPv6", "", on(c.IPv6Transmit.TCPChecksum.On())},
		{"transmit checksum UDP/IPv6", "", on(c.IPv6Transmit.UDPChecksum.On())},
		{"receive checksum IPv4", "rx_checksum_ipv4", on(c.IPv4Receive.IPChecksum.On())},
		{"receive checksum TCP/IPv4", "rx_checksum_tcp_ipv4", on(c.IPv4Receive.TCPChecksum.On())},
		{"receive checksum UDP/IPv4", "rx_checksum_udp_ipv4", on(c.IPv4Receive.UDPChecksum.On())},
		{"receive checksum TCP/IPv6", "rx_checksum_tcp_ipv6", on(c.IPv6Receive.TCPChecksum.On())},
		{"receive checksum UDP/IPv6", "rx_checksum_udp_ipv6", on(c.IPv6Receive.UDPChecksum.On())},
		{"large send (LSOv2) IPv4", "lso_ipv4", on(o.LSOv2.IPv4.Encapsulation != 0)},
		{"large send (LSOv2) IPv6", "lso_ipv6", on(o.LSOv2.IPv6.Encapsulation != 0)},
		{"UDP segmentation IPv4", "uso_ipv4", on(o.USO.IPv4.Encapsulation != 0)},
		{"UDP segmentation IPv6", "uso_ipv6", on(o.USO.IPv6.Encapsulation != 0)},
		{"receive coalescing IPv4", "rsc_ipv4", on(o.RSC.IPv4)},
		{"receive coalescing IPv6", "rsc_ipv6", on(o.RSC.IPv6)},
		{"receive coalescing UDP", "uro", on(o.UDPRSC)},
		{"NVGRE transmit checksum", "nvgre_tx_checksum", families(g.TransmitChecksum)},
		{"NVGRE receive checksum", "nvgre_rx_checksum", families(g.ReceiveChecksum)},
		{"NVGRE large send", "nvgre_lso", families(g.LSOv2)},
		{"NVGRE UDP segmentation", "nvgre_uso", families(g.USO)},
		{"NVGRE RSS", "nvgre_rss", families(g.RSS)},
		{"NVGRE VMQ", "nvgre_vmq", families(g.VMQ)},
	}
}

// Settings are the words that SetOffloads takes.
func Settings() []string {
	return []string{"nvgre", "framing", "rx-checksum", "lso", "uso", "rsc", "uro"}
}

// SetOffloads acts as a protocol driver: each setting is a word of Settings
// with =on or =off. framing is OID_OFFLOAD_ENCAPSULATION; the others are one
// OID_TCP_OFFLOAD_PARAMETERS, after framing is on or before it is off.
func SetOffloads(ctx context.Context, c *oid.Client, settings []string) error {
	var p ndis.OffloadParameters
	var framing ndis.Toggle
	seen := map[string]bool{}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		on := value == "on"
		switch {
		case !slices.Contains(Settings(), name):
			return fmt.Errorf("there is no offload %q; there are %s", name, strings.Join(Settings(), ", "))
		case !on && value != "off":
			return fmt.Errorf("%s: %q is no state; want %s=on or %s=off", name, value, name, name)
		case seen[name]:
			return fmt.Errorf("%s is set twice", name)
		}
		seen[name] = true
		sw := ndis.SwitchDisabled
		toggle := ndis.SetOff
		if on {
			sw, toggle = ndis.SwitchEnabled, ndis.SetOn
		}
		switch name {
		case "framing":
			framing = toggle
		case "nvgre":
			p.EncapsulatedTaskOffload = toggle
			if on {
				p.EncapsulationTypes = ndis.EncapsulationGREMAC
			}
		case "rx-checksum":
			sum := ndis.ChecksumTx
			if on {
				sum = ndis.ChecksumTxRx
			}
			p.IPv4Checksum, p.TCPIPv4Checksum, p.UDPIPv4Checksum, p.TCPIPv6Checksum, p.UDPIPv6Checksum = sum, sum, sum, sum, sum
		case "lso":
			p.LSOv2IPv4, p.LSOv2IPv6 = sw, sw
		case "uso":
			p.USOIPv4, p.USOIPv6 = sw, sw
		case "rsc":
			p.RSCIPv4, p.RSCIPv6 = sw, sw
		case "uro":
			p.UDPRSC = sw
		}
	}
	if framing == ndis.SetOn {
		if err := setFraming(ctx, c, framing); err != nil {
			return err
		}
	}
	if p != (ndis.OffloadParameters{}) {
		if err := c.Set(ctx, ndis.OIDTCPOffloadParameters, &p); err != nil {
			return err
		}
	}
	if framing == ndis.SetOff {
		return setFraming(ctx, c, framing)
	}
	return nil
}

func setFraming(ctx context.Context, c *oid.Client, t ndis.Toggle) error {
	f := ndis.FamilyFraming{Enabled: t}
	if t == ndis.SetOn {
		f.Encapsulation, f.HeaderSize = ndis.FramingIEEE8023, 14
	}
	return c.Set(ctx, ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: f, IPv6: f})
}
