package oidcli

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/oid/oidtest"
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

// connect returns a client of a real adapter with receive filters, and that
// adapter.
func connect(t *testing.T) (*oid.Client, *adapter.Adapter) {
	t.Helper()
	return connectTo(t, driver, adapter.Config{QueuePairs: 4, Limits: offload.DefaultLimits(), Coalescing: true, VMQueues: 3, Keywords: adapter.Keywords{"*RssOrVmqPreference": 1}})
}

// driver is what a guest's driver has negotiated.
const driver = virtio.FeatureCSUM | virtio.FeatureGuestCSUM | virtio.FeatureHostTSO4 | virtio.FeatureGuestTSO4

// connectTo returns a client of a real adapter, and that adapter.
func connectTo(t *testing.T, driver virtio.Features, cfg adapter.Config) (*oid.Client, *adapter.Adapter) {
	t.Helper()
	a, file := oidtest.Serve(t, driver, cfg, nil)
	conn, err := net.Dial("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := oid.Connect(t.Context(), conn, "", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, a
}

func TestQuery(t *testing.T) {
	c, _ := connect(t)
	var out bytes.Buffer
	if err := Query(t.Context(), c, &out, "tcp_rsc_statistics", false); err != nil || out.String() != "CoalesceEvents: 7\n" {
		t.Errorf("statistics: %q, %v", out.String(), err)
	}
	out.Reset()
	if err := Query(t.Context(), c, &out, "OID_TCP_OFFLOAD_CURRENT_CONFIG", false); err != nil || !strings.Contains(out.String(), "LSOv2.IPv4.Encapsulation: IEEE_802_3|IEEE_802_3_P_AND_Q\n") {
		t.Errorf("configuration: %s, %v", out.String(), err)
	}
	out.Reset()
	if err := Query(t.Context(), c, &out, "0xfc01020d", true); err != nil || !strings.Contains(out.String(), `"MaxOffLoadSize": 65535`) {
		t.Errorf("hardware as JSON: %s, %v", out.String(), err)
	}
	var status *oid.StatusError
	if err := Query(t.Context(), c, &out, "OID_OFFLOAD_ENCAPSULATION", false); !errors.As(err, &status) || status.Status != ndis.StatusFailure {
		t.Errorf("a query before the set: %v", err)
	}
	for _, name := range []string{"nonsense", "0x1"} {
		if err := Query(t.Context(), c, &out, name, false); err == nil {
			t.Errorf("query of %s: no error", name)
		}
	}
}

func TestSet(t *testing.T) {
	c, a := connect(t)
	var out bytes.Buffer
	p := ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}
	if err := Set(t.Context(), c, &out, adapter.Set, 0, "TCP_OFFLOAD_PARAMETERS", hex.EncodeToString(p.Encode()), false); err != nil || a.Overview().Operational.LSOv4 {
		t.Errorf("set: %v, operational %+v", err, a.Overview().Operational)
	}
	q := ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}}
	if err := Set(t.Context(), c, &out, adapter.Method, 3, "RECEIVE_FILTER_ALLOCATE_QUEUE", hex.EncodeToString(q.Encode()), false); err != nil || !strings.Contains(out.String(), "QueueID: 1\n") {
		t.Errorf("method: %s, %v", out.String(), err)
	}
	for _, input := range []string{"xyz", "8001"} {
		if err := Set(t.Context(), c, &out, adapter.Set, 0, "TCP_OFFLOAD_PARAMETERS", input, false); err == nil {
			t.Errorf("information buffer %q: no error", input)
		}
	}
}

func TestWatch(t *testing.T) {
	c, _ := connect(t)
	if err := SetOffloads(t.Context(), c, []string{"lso=off"}); err != nil {
		t.Fatal(err)
	}
	if err := SetOffloads(t.Context(), c, []string{"lso=on"}); err == nil {
		t.Error("large send of IPv6 was turned on, which the driver has not negotiated")
	}
	c.Close()
	var out bytes.Buffer
	if err := Watch(t.Context(), c, &out, false); err == nil || !strings.HasPrefix(out.String(), "NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG\nRevision: 8\n") {
		t.Errorf("watched: %s, %v", out.String(), err)
	}
	out.Reset()
	i := oid.Indication{Status: ndis.StatusReceiveQueueState, Dropped: 3, Body: (&ndis.ReceiveQueueStateIndication{QueueID: 2, State: ndis.QueueStateDMAStopped}).Encode()}
	if err := indication(&out, i, true); err != nil || out.String() != `{"Status":"NDIS_STATUS_RECEIVE_QUEUE_STATE","Dropped":3,"Body":{"Flags":0,"QueueID":2,"State":"DMA_STOPPED"}}`+"\n" {
		t.Errorf("as JSON: %s, %v", out.String(), err)
	}
}

func TestOffloads(t *testing.T) {
	c, a := connect(t)
	if err := SetOffloads(t.Context(), c, []string{"framing=on", "nvgre=on", "uro=off"}); err != nil {
		t.Fatal(err)
	}
	st := a.Overview().Operational
	if st.NVGRE.RxChecksum != offload.AllFamilies || !st.Receive.TCPv4 {
		t.Errorf("operational %v, want NVGRE and receive checksums", st.Names())
	}
	var out bytes.Buffer
	if err := ShowOffloads(t.Context(), c, &out, append(st.Names(), "nvgre_rss:inner_ipv4+outer_ipv4")); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"OFFLOAD HARDWARE CONFIGURED OPERATIONAL",
		"receive checksum TCP/IPv4 on on on",
		"large send (LSOv2) IPv6 - - -",
		"receive coalescing IPv4 on - -",
		"transmit checksum TCP/IPv4 on on on",
		"transmit checksum TCP/IPv6 on on on",
		"NVGRE receive checksum all all all",
	} {
		if !slices.ContainsFunc(strings.Split(out.String(), "\n"), func(l string) bool { return strings.Join(strings.Fields(l), " ") == line }) {
			t.Errorf("table lacks %q:\n%s", line, out.String())
		}
	}
	if err := SetOffloads(t.Context(), c, []string{"rsc=off", "rx-checksum=off", "framing=off"}); err != nil {
		t.Fatal(err)
	}
	if st := a.Overview().Operational; st.Receive != (offload.Validation{}) || st.LSOv4 {
		t.Errorf("operational with framing off: %v", st.Names())
	}
	for _, bad := range []string{"nonsense=on", "nvgre", "nvgre=yes"} {
		if err := SetOffloads(t.Context(), c, []string{bad}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if err := SetOffloads(t.Context(), c, []string{"nvgre=on", "nvgre=off"}); err == nil {
		t.Error("a setting twice: no error")
	}
}

// Without a driver there is a table all the same, and a word on why it is
// empty.
func TestNoDriver(t *testing.T) {
	c, a := connectTo(t, 0, adapter.Config{QueuePairs: 4, Limits: offload.DefaultLimits()})
	var out bytes.Buffer
	st := a.Overview().Operational
	if err := ShowOffloads(t.Context(), c, &out, st.Names()); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); strings.Contains(s, " on") || !strings.Contains(s, "NVGRE VMQ") || !strings.Contains(s, "\nNo driver has negotiated an offload") {
		t.Errorf("got:\n%s\nwant nothing on, and why", s)
	}
}
