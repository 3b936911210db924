package bench

import (
	"fmt"

	"vhost-user-nvgre/guest-tests/bench/loadgen"
	"vhost-user-nvgre/virtio"
)

// Row is a line of the table: a kind of load, and how each back end is to be
// set up for it.
type Row struct {
	Name  string // for selecting it
	Title string
	Load  loadgen.Config // without sockets and times
	// AtLeast is the ratio of ours to testpmd's that is wanted, AtLeastGbps our
	// rate on the reference machine, a 2.3 GHz Xeon.
	AtLeast, AtLeastGbps float64
	// NVGRE switches the NVGRE offloads of our ports on.
	NVGRE bool
	// Drop: nothing comes out, the back end takes and drops.
	Drop bool
	// Testpmd is how testpmd does the same work.
	Testpmd Setup
}

// Setup is a way to run testpmd.
type Setup struct {
	Forward  string // mode
	Vdev     string // more options of the net_vhost devices
	Mbufs    int
	MbufSize int // bytes of data room, 0 for the default of 2,048 and headroom
	MemMB    int
	// Commands are given before it starts to forward.
	Commands []string
	Expect   loadgen.Outcome // where it differs from ours
	// Lax: what it delivers is not all right. See loadgen.Config.
	Lax bool
}

// plainSetup forwards. As few buffers as it can have make it faster, as they
// stay in the cache.
var plainSetup = Setup{Forward: "io", Mbufs: 2048, MemMB: 64}

// noOffload is what a receiver without any receive offload does not negotiate.
const noOffload = virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 |
	virtio.FeatureGuestECN | virtio.FeatureGuestUFO | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// Rows returns all rows in the order of the table.
func Rows() []Row {
	const hugeMbuf = 65535 // the most there can be
	const mss = 1400
	nvgreSegment := 96 + mss // with headers
	return []Row{
		{
			// Shows what the generator can do, not the back ends.
			Name: "drop", Title: "72-byte frames, taken and dropped", Drop: true,
			Load:    loadgen.Config{Kind: loadgen.Plain, Size: 72},
			Testpmd: Setup{Forward: "rxonly", Mbufs: 2048, MemMB: 64},
		},
		{
			Name: "72", Title: "72-byte frames", AtLeast: 1,
			Load:    loadgen.Config{Kind: loadgen.Plain, Size: 72},
			Testpmd: plainSetup,
		},
		{
			Name: "1502", Title: "1,502-byte frames", AtLeast: 1,
			Load:    loadgen.Config{Kind: loadgen.Plain, Size: 1502},
			Testpmd: plainSetup,
		},
		{
			Name: "super", Title: "60,000-byte super-frames passed on whole", AtLeast: 1,
			Load: loadgen.Config{Kind: loadgen.Super, Size: 60000, MSS: 1448},
			// With its legacy flags testpmd passes the packet header on; otherwise
			// it would sum every byte up in software. It spoils the checksum
			// field's seed either way.
			Testpmd: Setup{
				Forward: "io", Vdev: "tso=1,legacy-ol-flags=1", Mbufs: 2048, MbufSize: hugeMbuf, MemMB: 200,
				Expect: loadgen.Whole, Lax: true,
			},
		},
		{
			Name: "nvgre-csum", Title: "NVGRE, 1,496 bytes, inner checksum to do", AtLeast: 1, AtLeastGbps: 40, NVGRE: true,
			Load: loadgen.Config{Kind: loadgen.NVGRECsum, Size: 1496, WithholdReceive: noOffload},
			Testpmd: Setup{
				Forward: "csum", Mbufs: 2048, MemMB: 64, Expect: loadgen.Finished,
				Commands: []string{
					"port stop all",
					"csum set ip sw 1", "csum set tcp sw 1", "csum set outer-ip sw 1",
					"csum parse-tunnel on 1", "csum mac-swap off 1",
					"port start all",
				},
			},
		},
		{
			Name: "nvgre-super", Title: "NVGRE, 60,000 bytes, segmented at MSS 1,400", AtLeast: 1, AtLeastGbps: 45, NVGRE: true,
			Load: loadgen.Config{Kind: loadgen.NVGRESuper, Size: 60000, MSS: mss, WithholdReceive: noOffload},
			// It leaves the checksums of segments undone. As "hardware" they cost
			// it nothing, while in software it would sum the super-frame up, for
			// nothing.
			Testpmd: Setup{
				Forward: "csum", Vdev: "tso=1", Mbufs: 4096, MbufSize: hugeMbuf, MemMB: 350,
				Expect: loadgen.Segments, Lax: true,
				Commands: []string{
					"port stop all",
					"csum set ip sw 1", "csum set tcp hw 1", "csum set outer-ip sw 1",
					"csum parse-tunnel on 1", "csum mac-swap off 1",
					"port start all",
					"set port 1 gso on", fmt.Sprintf("set gso segsz %d", nvgreSegment),
				},
			},
		},
	}
}
