package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/oid/oidtest"
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/offload/ndis/adapter/adaptertest"
)

// careless takes requests that it should refuse.
type careless struct{ *adapter.Adapter }

func (c careless) Handle(r adapter.Request) adapter.Response {
	resp := c.Adapter.Handle(r)
	if resp.Status == ndis.StatusInvalidData {
		resp = adapter.Response{}
	}
	return resp
}

// serve serves an adapter at the socket it returns the path of.
func serve(t *testing.T, wrap func(*adapter.Adapter) oid.Handler) string {
	t.Helper()
	return serveAs(t, adapter.Config{QueuePairs: 1, Limits: offload.DefaultLimits()}, wrap)
}

// serveAs serves an adapter of that configuration.
func serveAs(t *testing.T, cfg adapter.Config, wrap func(*adapter.Adapter) oid.Handler) string {
	t.Helper()
	_, file := oidtest.Serve(t, adaptertest.Driver, cfg, wrap)
	return file
}

func execute(args ...string) (string, error) {
	var out bytes.Buffer
	c := newCommand()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	err := c.ExecuteContext(context.Background())
	return out.String(), err
}

// The self-test passes with the adapter, and fails with one that takes what it
// should not.
func TestSelftest(t *testing.T) {
	file := serve(t, nil)
	out, err := execute("--socket", file, "selftest")
	if err != nil || strings.Contains(out, "FAIL") || !strings.Contains(out, "NVGRE on (NDIS-027, NDIS-035, NDIS-078, NDIS-097): pass\n") {
		t.Errorf("selftest: %v\n%s", err, out)
	}
	file = serve(t, func(a *adapter.Adapter) oid.Handler { return careless{a} })
	out, err = execute("--socket", file, "selftest")
	if err == nil || !strings.Contains(out, "wrong parameters change nothing (NDIS-031, NDIS-032, NDIS-033, NDIS-092): FAIL") {
		t.Errorf("selftest of a careless adapter: %v\n%s", err, out)
	}
}

func TestCommands(t *testing.T) {
	file := serve(t, nil)
	for _, tt := range []struct {
		args []string
		want string // in the output; "": an error
	}{
		{[]string{"query", "OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES"}, "GRE.LSOv2: INNER_IPV4|OUTER_IPV4|INNER_IPV6|OUTER_IPV6\n"},
		{[]string{"query", "OID_TCP_OFFLOAD_CURRENT_CONFIG", "--json"}, `"EncapsulationTypes": "0"`},
		{[]string{"offload", "on", "framing", "nvgre"}, "\x00"},
		{[]string{"query", "OID_TCP_OFFLOAD_CURRENT_CONFIG"}, "EncapsulationTypes: GRE_MAC\n"},
		{[]string{"offload", "show"}, "NVGRE large send"},
		{[]string{"offload", "off", "nvgre"}, "\x00"},
		{[]string{"set", "OID_TCP_OFFLOAD_PARAMETERS", "80011400 0000000000000000 00000000 00000000"}, "\x00"},
		{[]string{"set", "OID_TCP_OFFLOAD_PARAMETERS", "80"}, ""},
		{[]string{"method", "OID_TCP_OFFLOAD_PARAMETERS", "80"}, ""},
		{[]string{"query", "nonsense"}, ""},
		{[]string{"query"}, ""},
		{[]string{"filter", "list"}, ""},
		{[]string{"filter", "add", "02:00:00:00:00:09"}, ""},
		{[]string{"rss", "show"}, ""},
		{[]string{"--socket", "/nowhere", "query", "1"}, ""},
	} {
		out, err := execute(append([]string{"--socket", file}, tt.args...)...)
		if (err == nil) != (tt.want != "") || !strings.Contains(out, strings.TrimSuffix(tt.want, "\x00")) {
			t.Errorf("nvgre-guest %v: %q, %v, want %q", tt.args, out, err, tt.want)
		}
	}
}

// The program's filters are those of its own driver.
func TestFilterCommands(t *testing.T) {
	file := serveAs(t, adapter.Config{
		QueuePairs: 2, VMQueues: 1, Limits: offload.DefaultLimits(), Keywords: adapter.Keywords{"*RssOrVmqPreference": 1},
	}, nil)
	for _, tt := range []struct{ args, want string }{
		{"filter add 02:00:00:00:00:09 1 --vlan 7", "filter 1 leads to queue 1\n"},
		{"filter list", "1   02:00:00:00:00:09  7     outer   1      RUNNING\n"},
		{"filter list --json", `"Type": "VM_QUEUE"`},
		{"filter del 1", ""},
		{"rss show", "queues      2\n"},
	} {
		out, err := execute(append([]string{"--socket", file}, strings.Fields(tt.args)...)...)
		if err != nil || !strings.Contains(out, tt.want) {
			t.Errorf("nvgre-guest %s: %q, %v, want %q", tt.args, out, err, tt.want)
		}
	}
}

func TestRSSCommands(t *testing.T) {
	file := serveAs(t, adapter.Config{QueuePairs: 2, Limits: offload.DefaultLimits()}, nil)
	for _, tt := range []struct{ args, want string }{
		{"rss show", "state       off\n"},
		{"rss set queues=1 types=ipv4,udp-ipv6", ""},
		{"rss show", "hash        TOEPLITZ|IPV4|UDP_IPV6\n"},
		{"rss set table=1,0", ""},
		{"rss show --json", `"HashInformation": "TOEPLITZ|IPV4|UDP_IPV6"`},
		{"rss show", "  processor 0:1  1 entries\n"},
		{"rss set off", ""},
		{"rss show", "state       off\n"},
		{"rss set --help", "key=HEX"},
	} {
		out, err := execute(append([]string{"--socket", file}, strings.Fields(tt.args)...)...)
		if err != nil || !strings.Contains(out, tt.want) {
			t.Errorf("nvgre-guest %s: %q, %v, want %q", tt.args, out, err, tt.want)
		}
	}
}
