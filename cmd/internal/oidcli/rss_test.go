package oidcli

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/offload/toeplitz"
)

func TestShowRSS(t *testing.T) {
	c, _ := connectTo(t, driver, adapter.Config{QueuePairs: 4, Limits: offload.DefaultLimits()})
	show := func(want ...string) {
		t.Helper()
		var out bytes.Buffer
		if err := ShowRSS(t.Context(), c, &out, false); err != nil {
			t.Fatal(err)
		}
		got := squeeze(out.String())
		for _, line := range want {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("ShowRSS lacks %q:\n%s", line, got)
			}
		}
	}
	show("queues 4", "table size at most 128", "state off")
	key := bytes.Repeat([]byte{0xa5}, ndis.HashKeySize)
	hash := ndis.ReceiveHashParameters{Flags: ndis.ReceiveHashEnable, HashInformation: ndis.HashToeplitz | ndis.HashIPv6, Key: key}
	if err := c.Set(context.Background(), ndis.OIDReceiveHash, &hash); err != nil {
		t.Fatal(err)
	}
	show("state off, hashes are reported", "hash TOEPLITZ|IPV6", "key "+strings.Repeat("a5", ndis.HashKeySize))
	if err := c.Set(context.Background(), ndis.OIDReceiveHash, &ndis.ReceiveHashParameters{}); err != nil {
		t.Fatal(err)
	}
	p := ndis.ReceiveScaleParameters{
		Revision: 3, HashInformation: ndis.HashToeplitz | ndis.HashTCPIPv4, Key: key, DefaultProcessor: ndis.ProcessorNumber{Number: 3},
		Table: []ndis.ProcessorNumber{{Number: 2}, {Number: 1}, {Number: 2}, {Number: 2}},
	}
	if err := c.Set(context.Background(), ndis.OIDReceiveScaleParameters, &p); err != nil {
		t.Fatal(err)
	}
	show("state on", "hash TOEPLITZ|TCP_IPV4", "key "+strings.Repeat("a5", ndis.HashKeySize), "no hash processor 0:3",
		"table 4 entries", "processor 0:2 3 entries", "processor 0:1 1 entries")
	var out bytes.Buffer
	if err := ShowRSS(t.Context(), c, &out, true); err != nil || !strings.Contains(out.String(), `"HashInformation": "TOEPLITZ|TCP_IPV4"`) {
		t.Errorf("as JSON: %s, %v", out.String(), err)
	}
	if err := AddFilter(t.Context(), c, &out, 0, Filter{MAC: "02:00:00:00:00:09", Queue: "1"}); err == nil || !strings.Contains(err.Error(), "there are no receive filters") {
		t.Errorf("a filter without VMQ: %v", err)
	}
}

// What is named is set, what is not stays or is the usual, with the OIDs of
// either version.
func TestSetRSS(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		c, a := connectTo(t, driver, adapter.Config{QueuePairs: 4, Limits: offload.DefaultLimits(), RSSv2: v2})
		theKey := toeplitz.DefaultKey()
		other := "01:" + strings.Repeat("00", ndis.HashKeySize-1)
		otherKey := theKey
		clear(otherKey[:])
		otherKey[0] = 1
		inTurn := func(n int) (table []uint16) {
			for i := range 128 {
				table = append(table, uint16(i%n))
			}
			return table
		}
		plain := offload.HashIPv4 | offload.HashTCPv4 | offload.HashUDPv4 | offload.HashIPv6 | offload.HashTCPv6 | offload.HashUDPv6
		rss := func(key [ndis.HashKeySize]byte, types offload.HashTypes, rest uint16, table ...uint16) *adapter.RSS {
			return &adapter.RSS{Hash: adapter.Hash{Key: key, Types: types}, Table: table, Default: rest}
		}
		for _, tt := range []struct {
			words string
			want  *adapter.RSS // nil: off
		}{
			{"default=1", rss(theKey, plain, 1, inTurn(4)...)},
			{"queues=3", rss(theKey, plain, 1, inTurn(3)...)},
			{"table=3,0", rss(theKey, plain, 1, 3, 0)},
			{"types=ipv4,udp-ipv6-ex", rss(theKey, offload.HashIPv4|offload.HashUDPv6Ex, 1, 3, 0)},
			{"key=" + other, rss(otherKey, offload.HashIPv4|offload.HashUDPv6Ex, 1, 3, 0)},
			{"table=1,2,3,0 types=all default=2", rss(otherKey, offload.AllHashTypes, 2, 1, 2, 3, 0)},
			{"table=2", rss(otherKey, offload.AllHashTypes, 2, 2)},
			{"off", nil},
			{"off", nil},
			{"key=default queues=1", rss(theKey, plain, 0, inTurn(1)...)},
			{"queues=4 default=3", rss(theKey, plain, 3, inTurn(4)...)},
		} {
			if err := SetRSS(t.Context(), c, 1, strings.Fields(tt.words)); err != nil {
				t.Fatalf("version 2: %t, %s: %v", v2, tt.words, err)
			}
			got := a.Setting().RSS
			switch {
			case tt.want == nil:
				// Turned off, version 2 steers to its primary processor.
				if got != nil && !v2 || v2 && !slices.Equal(got.Table, []uint16{0}) {
					t.Errorf("version 2: %t, %s: %+v", v2, tt.words, got)
				}
			case got == nil || got.Hash != tt.want.Hash || got.Default != tt.want.Default || !slices.Equal(got.Table, tt.want.Table):
				t.Errorf("version 2: %t, %s: %+v, want %+v", v2, tt.words, got, tt.want)
			}
		}
	}
}

// Nonsense is refused with its name and what would be right, and changes
// nothing.
func TestSetRSSRefused(t *testing.T) {
	c, a := connectTo(t, driver, adapter.Config{QueuePairs: 4, Limits: offload.DefaultLimits()})
	if err := SetRSS(t.Context(), c, 1, []string{"queues=2"}); err != nil {
		t.Fatal(err)
	}
	before := a.Setting()
	for words, want := range map[string]string{
		"nonsense":                            `"nonsense" is no setting of RSS; want off, or key=`,
		"colour=red":                          "colour: no such setting of RSS; want off, or key=",
		"off queues=2":                        "off goes with nothing else",
		"queues=2 queues=3":                   "queues is set twice",
		"queues=2 table=0":                    "table and queues exclude each other",
		"queues=0":                            `queues: "0" is no number of receive queues of this port; want 1 to 4`,
		"queues=5":                            `"5" is no number of receive queues`,
		"table=0,4":                           `table: "4" is no receive queue of this port; want 0 to 3`,
		"table=0,1,2":                         "table: 3 entries; want a power of two up to 128",
		"table=":                              `table: "" is no receive queue`,
		"table=0" + strings.Repeat(",0", 255): "table: 256 entries; want a power of two up to 128",
		"default=x":                           `default: "x" is no receive queue of this port; want 0 to 3`,
		"types=tcp":                           `types: there is no hash type "tcp"; there are ipv4, ipv6, `,
		"types=":                              `types: there is no hash type ""`,
		"key=00":                              `key: "00" has 1 bytes; want 40`,
		"key=xyz":                             `key: "xyz": encoding/hex: invalid byte: U+0078 'x'; want pairs of hexadecimal digits, or default`,
	} {
		if err := SetRSS(t.Context(), c, 1, strings.Fields(words)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", words, err, want)
		}
	}
	if a.Setting() != before {
		t.Errorf("after refusals: %+v, want %+v", a.Setting(), before)
	}
	one, _ := connectTo(t, driver, adapter.Config{QueuePairs: 1, Limits: offload.DefaultLimits()})
	filters, _ := connect(t)
	for _, words := range []string{"queues=1", "off"} {
		for c, want := range map[*oid.Client]string{one: "there is one receive queue only", filters: "receive filters in use, which exclude RSS"} {
			if err := SetRSS(t.Context(), c, 1, []string{words}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want an error with %q", words, err, want)
			}
		}
	}
}

// A shell completes words, and names in a list of types.
func TestRSSWords(t *testing.T) {
	for begun, want := range map[string][]string{
		"":                 {"off", "key=", "table=", "queues=", "default=", "types="},
		"types=":           {"types=all", "types=ipv4"},
		"types=ipv4,tcp-i": {"types=ipv4,tcp-ipv4", "types=ipv4,udp-ipv6-ex"},
	} {
		got := RSSWords(begun)
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("RSSWords(%q) = %v, want %q in it", begun, got, w)
			}
		}
	}
}
