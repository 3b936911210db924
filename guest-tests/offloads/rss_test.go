// Package offloads tests, with stock guests, what their drivers configure of
// the device over the control queue.
package offloads

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

const (
	pairs = 4
	kinds = 4    // of packets
	flows = 2500 // of each kind, to begin with
)

// flow is a packet of some flow; inner is what it carries in a tunnel.
type flow struct {
	v6           bool
	src, dst     []byte
	proto        byte
	sport, dport uint16
	inner        *flow
}

func randomFlow(rnd *rand.Rand, v6 bool) flow {
	f := flow{v6: v6, proto: []byte{6, 17}[rnd.IntN(2)], sport: uint16(rnd.Uint32()), dport: uint16(rnd.Uint32())}
	f.src, f.dst = []byte{198, 18, 0, 0}, []byte{198, 19, 0, 0}
	if v6 {
		f.src, f.dst = append([]byte{0x20, 1, 0, 2}, make([]byte, 12)...), append([]byte{0x20, 1, 0, 2}, make([]byte, 12)...)
	}
	binary.BigEndian.PutUint16(f.src[len(f.src)-2:], uint16(rnd.Uint32()))
	binary.BigEndian.PutUint16(f.dst[len(f.dst)-2:], uint16(rnd.Uint32()))
	return f
}

// frame returns the packet as an Ethernet frame. Checksums are left zero: the
// guest is to count frames, not to take them.
func (f *flow) frame(dst, src virtio.MAC) []byte {
	payload := append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, f.sport), f.dport), make([]byte, 16)...)
	payload[12] = 0x50 // TCP: a header of 20 bytes
	if f.proto == 17 {
		payload = payload[:8]
		binary.BigEndian.PutUint16(payload[4:], 8)
	}
	if f.inner != nil {
		payload = append([]byte{0x20, 0, 0x65, 0x58, 0, 0, 7, byte(f.sport)}, f.inner.frame(virtio.MAC{2, 1}, virtio.MAC{2, 2})...)
	}
	b := append(append([]byte{}, dst[:]...), src[:]...)
	if f.v6 {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), f.proto, 64)
	} else {
		b = append(b, 8, 0, 0x45, 0)
		b = append(binary.BigEndian.AppendUint16(b, uint16(20+len(payload))), 0, 0, 0, 0, 64, f.proto, 0, 0)
	}
	b = append(append(b, f.src...), f.dst...)
	return append(b, payload...)
}

// hash returns the Toeplitz hash of the flow by its definition, bit by bit:
// of the inner flow, if there is one that is to be looked at.
func (f *flow) hash(key []byte, inner bool) (h uint32) {
	if f.inner != nil && inner {
		return f.inner.hash(key, false)
	}
	input := slices.Concat(f.src, f.dst)
	if f.inner == nil {
		input = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(input, f.sport), f.dport)
	}
	for i := range 8 * len(input) {
		if input[i/8]<<(i%8)&0x80 == 0 {
			continue
		}
		for j := range 32 {
			h ^= uint32(key[(i+j)/8]<<((i+j)%8)&0x80) >> 7 << (31 - j)
		}
	}
	return h
}

// bench is a guest with a NIC of several pairs, and a front end in this
// process that sends to it.
type bench struct {
	*testing.T
	daemon *rig.Daemon
	peer   rig.Peer
	tx     *frontendtest.TxQueue
	rnd    *rand.Rand
}

// burst is how many frames are sent at once, less than a ring has buffers.
const burst = 64

// received sends the frames and returns how many came on each pair.
func (b *bench) received(ctx context.Context, frames [][]byte) (counts [pairs]uint64) {
	b.Helper()
	before := b.daemon.MustStatus(b)
	for i, f := range frames {
		b.tx.MustSend(b, virtio.NetHdr{}, f)
		if i%burst == burst-1 {
			time.Sleep(5 * time.Millisecond) // a guest under emulation is slow
		}
	}
	if err := b.tx.Drain(10 * time.Second); err != nil {
		b.Fatal(err)
	}
	st, err := b.daemon.Status(ctx)
	if err != nil {
		b.Fatal(err)
	}
	for _, q := range st.Since(before).Port("vm0").Queues {
		if q.Kind == rig.RX {
			// What a slow guest had no buffer for was for that queue, too.
			counts[q.Index/2] = q.Packets + q.Drops["rx_full"]
		}
	}
	return counts
}

// check sends frames of flows of four kinds and compares on which pairs they
// come with what the hash says; n is the number of flows of each kind. table
// is nil where no hash counts.
func (b *bench) check(ctx context.Context, what string, n int, key []byte, table []int, inner bool) {
	b.Helper()
	port := b.daemon.Port("vm0")
	dst, err := virtio.ParseMAC(port.MAC)
	if err != nil {
		b.Fatal(err)
	}
	var frames [][]byte
	var want [pairs]uint64
	for i := range kinds * n {
		f := randomFlow(b.rnd, i%2 == 1)
		if i%4 >= 2 {
			inner := f
			f = randomFlow(b.rnd, i%2 == 0)
			f.proto, f.inner = 47, &inner
		}
		frames = append(frames, f.frame(dst, virtio.MAC{2, 0, 0, 0, 0, 0x99}))
		pair := 0
		if table != nil {
			pair = table[f.hash(key, inner)%uint32(len(table))]
		}
		want[pair]++
	}
	if got := b.received(ctx, frames); got != want {
		b.Errorf("%s: %v frames came on the pairs, want %v", what, got, want)
	}
}

// table reads what ethtool -x prints: the key and the indirection table.
func (b *bench) table(ctx context.Context) (key []byte, table []int) {
	b.Helper()
	out, err := b.peer.Ethtool(ctx, "-x")
	if err != nil {
		b.Fatal(err)
	}
	rest := out
	for line := range strings.Lines(out) {
		var at int
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasSuffix(fields[0], ":") {
			if _, err := fmt.Sscanf(fields[0], "%d:", &at); err == nil && at == len(table) {
				for _, f := range fields[1:] {
					var q int
					if _, err := fmt.Sscan(f, &q); err != nil {
						b.Fatalf("line %q of ethtool -x: %v", line, err)
					}
					table = append(table, q)
				}
			}
		}
		if strings.HasPrefix(line, "RSS hash key:") {
			_, rest, _ = strings.Cut(out, line)
			rest, _, _ = strings.Cut(rest, "\n")
			if key, err = hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(rest), ":", "")); err != nil {
				b.Fatalf("key %q of ethtool -x: %v", rest, err)
			}
		}
	}
	return key, table
}

// must runs ethtool.
func (b *bench) must(ctx context.Context, option string, args ...string) {
	b.Helper()
	if out, err := b.peer.Ethtool(ctx, option, args...); err != nil {
		b.Fatalf("ethtool %s %s: %v\n%s", option, strings.Join(args, " "), err, out)
	}
}

// A stock guest chooses key and table by ethtool -X and reads them by -x, and
// every frame goes to the receive queue that the hash says, of plain packets
// and, as NVGRE is on, by their inner headers of encapsulated ones.
//
// Shows: VNET-085, NDIS-062, NDIS-066, NDIS-182
func TestGuestRSS(t *testing.T) {
	ctx := t.Context()
	d := rig.Run(t, rig.Config{Ports: []rig.Port{
		{Name: "vm0", QueuePairs: pairs, Settings: []string{"nvgre=on"}},
		{Name: "source"},
	}})
	vm := harness.Start(t, harness.Guest{Name: "rss", NICs: []harness.NIC{rig.Device.NIC(d.Port("vm0"))}})
	b := &bench{T: t, daemon: d, peer: rig.Peer{VM: vm, ID: "vm0"}, rnd: rand.New(rand.NewPCG(1, 2))}
	var err error
	if b.peer.Iface, err = vm.Address(ctx, "vm0"); err != nil {
		t.Fatal(err)
	}
	source := frontendtest.MustConnect(t, frontendtest.MustDial(t, d.Port("source").Socket()), frontendtest.Options{})
	b.tx = source.TX[0]

	b.must(ctx, "-L", "combined", fmt.Sprint(pairs))
	st := d.MustStatus(t).Port("vm0")
	for _, f := range []string{"rss", "hash_report", "ctrl_guest_offloads"} {
		if !st.Has(f) {
			t.Errorf("the guest has not negotiated %s: %v", f, st.Negotiated)
		}
	}
	// What the driver chose by itself.
	key, table := b.table(ctx)
	if len(key) != 40 || len(table) != 128 {
		t.Fatalf("ethtool -x shows a key of %d bytes and a table of %d entries, want 40 and 128", len(key), len(table))
	}
	b.check(ctx, "the driver's choice", flows, key, table, true)

	chosen := make([]byte, 40)
	for i := range chosen {
		chosen[i] = byte(b.rnd.Uint32())
	}
	text := make([]string, len(chosen))
	for i, v := range chosen {
		text[i] = fmt.Sprintf("%02x", v)
	}
	b.must(ctx, "-X", "hkey", strings.Join(text, ":"), "weight", "3", "0", "5", "1")
	key, table = b.table(ctx)
	if !bytes.Equal(key, chosen) || slices.Contains(table, 1) || !slices.Contains(table, 3) {
		t.Errorf("ethtool -x shows key %x, table %v; want key %x and pair 1 nowhere", key, table, chosen)
	}
	b.check(ctx, "ethtool -X", flows, key, table, true)

	// It is off at first, which tells the device nothing.
	b.must(ctx, "-K", "rxhash", "on")
	b.check(ctx, "with hashes", flows/10, key, table, true)
	b.must(ctx, "-K", "rxhash", "off")
	b.check(ctx, "without hashes", flows/10, key, nil, true)
	b.checkCoalescing(ctx)
	d.CheckQuiet(t)
}

// checkCoalescing has the guest ask for an interrupt every 50 ms and sends it
// frames for longer.
func (b *bench) checkCoalescing(ctx context.Context) {
	b.Helper()
	const delay = 50 * time.Millisecond
	b.must(ctx, "-C", "rx-usecs", fmt.Sprint(delay.Microseconds()), "rx-frames", "100000")
	before := b.daemon.MustStatus(b)
	start := time.Now()
	b.check(ctx, "with delayed interrupts", flows/10, nil, nil, true)
	calls := b.daemon.MustStatus(b).Since(before).Port("vm0").Total(rig.RX).Calls
	elapsed := time.Since(start)
	// All came on one queue.
	if limit := uint64(elapsed/delay) + 2; calls == 0 || calls > limit {
		b.Errorf("%d interrupts in %v, want 1 to %d", calls, elapsed, limit)
	}
}
