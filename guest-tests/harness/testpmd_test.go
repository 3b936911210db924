package harness

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTestpmdArguments(t *testing.T) {
	for _, tt := range []struct {
		p    Testpmd
		want string
	}{
		{
			Testpmd{Vdevs: []string{"net_vhost0,iface=/s"}},
			"-l 0,1 --main-lcore 0 --no-pci --file-prefix testpmd -m 256 --no-huge --single-file-segments --vdev net_vhost0,iface=/s " +
				"-- --forward-mode=io --rxq=1 --txq=1 --total-num-mbufs=8192 --auto-start --stats-period=1",
		},
		{
			Testpmd{Name: "fe", Queues: 4, Forward: "txonly", MainCore: 1, HugePages: true, Args: []string{"--txpkts=1500"}},
			"-l 1,0 --main-lcore 1 --no-pci --file-prefix fe -m 128 --in-memory --single-file-segments " +
				"-- --forward-mode=txonly --rxq=4 --txq=4 --total-num-mbufs=8192 --auto-start --stats-period=1 --txpkts=1500",
		},
	} {
		if diff := cmp.Diff(tt.want, strings.Join(tt.p.arguments(), " ")); diff != "" {
			t.Errorf("arguments of %+v (-want +got):\n%s", tt.p, diff)
		}
	}
}

// The text is testpmd 22.11's.
func TestTestpmdStats(t *testing.T) {
	const block = `
Port statistics ====================================
  ######################## NIC statistics for port 0  ########################
  RX-packets: 5          RX-missed: 0          RX-bytes:  402
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 4          TX-errors: 0          TX-bytes:  320

  Throughput (since last show)
  Rx-pps:            0          Rx-bps:          288
  Tx-pps:            0          Tx-bps:          232
  ############################################################################

  ######################## NIC statistics for port 1  ########################
  RX-packets: 547488     RX-missed: 0          RX-bytes:  35039232
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 1          TX-errors: 0          TX-bytes:  42
`
	got := TestpmdStats(strings.Replace(block, "RX-packets: 5 ", "RX-packets: 1 ", 1) + block)
	want := map[int]PortStats{0: {5, 402, 4, 320}, 1: {547488, 35039232, 1, 42}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("TestpmdStats() (-want +got):\n%s", diff)
	}
	if got := TestpmdStats("EAL: nothing yet"); len(got) != 0 {
		t.Errorf("TestpmdStats() of no counters = %v", got)
	}
}
