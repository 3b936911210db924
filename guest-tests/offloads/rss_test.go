// Package offloads tests, with stock guests, what their drivers configure of
// the device over the control queue.
package offloads

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rawframe"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

const (
	pairs = 4
	flows = 10_000 // of all kinds
)

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

// steered is what a check expects: where frames come and what they say of it.
type steered struct {
	hashing
	table    []int // nil: no hash counts
	reported bool  // the driver wants hashes in packet headers
}

// rounds is how often frames are sent that a busy guest had no buffer for.
const rounds = 10

// check sends frames of n flows, TCP and UDP over IPv4 and IPv6, two thirds of
// them in NVGRE. On which pairs they come, by
// what the daemon counts and by what the guest's driver says, and which hashes
// are in their headers, has to be what is computed here. It returns the flows
// and their hashes.
func (b *bench) check(ctx context.Context, what string, n int, want steered) (all []flow, hashes []uint32) {
	b.Helper()
	dst, err := virtio.ParseMAC(b.daemon.Port("vm0").MAC)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if i%6 < 2 {
			all = append(all, randomFlow(b.rnd, i%2 == 1))
		} else {
			all = append(all, tunnelled(b.rnd, i%2 == 1, i%6 >= 4))
		}
	}
	hashes = make([]uint32, n)
	missing := make([]int, n)
	for i := range missing {
		missing[i] = i
	}
	start, differ := time.Now(), 0
	for range rounds {
		var frames [][]byte
		var pair [pairs]uint64
		for _, i := range missing {
			frames = append(frames, rawframe.Mark(all[i].frame(dst, virtio.MAC{2, 0, 0, 0, 0, 0x99}), i))
			pair[want.pair(&all[i])]++
		}
		arrivals, err := b.peer.Hashes(ctx, n, func() error {
			if got := b.received(ctx, frames); got != pair {
				b.Errorf("%s: %v frames came on the pairs, want %v", what, got, pair)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		missing = slices.DeleteFunc(missing, func(i int) bool {
			a, f := &arrivals[i], &all[i]
			if a.Count == 0 {
				return false
			}
			hashes[i] = a.Hash
			hash := uint32(0)
			if want.reported {
				hash = want.of(f)
			}
			if a.Count != 1 || a.Hash != hash || a.Queue != want.pair(f) {
				if differ++; differ <= 5 {
					b.Errorf("%s: frame %d %+v: %+v, want hash %#x on queue %d, once", what, i, f, *a, hash, want.pair(f))
				}
			}
			return true
		})
		if len(missing) == 0 {
			break
		}
	}
	if differ > 0 || len(missing) > 0 {
		b.Errorf("%s: %d of %d frames are not as computed, %d never came", what, differ, n, len(missing))
	}
	b.Logf("%s: %d flows in %v", what, n, time.Since(start).Round(10*time.Millisecond))
	return all, hashes
}

func (s *steered) pair(f *flow) int {
	if s.table == nil {
		return 0
	}
	return s.table[s.of(f)%uint32(len(s.table))]
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

// A stock guest chooses key and table by ethtool -X, which packets have their
// ports hashed by -N, and whether it wants hashes by -K: every frame comes on
// the receive queue and with the hash in its header that a computation by the
// definition gives, of plain packets, and of encapsulated ones by their inner
// headers while NVGRE is on, by the outer ones while it is off.
//
// Shows: VNET-085, VNET-090, VNET-093, NDIS-062, NDIS-066, NDIS-069, NDIS-180, NDIS-182, NDIS-184
func TestGuestRSS(t *testing.T) {
	ctx := t.Context()
	d := rig.Run(t, rig.Config{Ports: []rig.Port{
		{Name: "vm0", QueuePairs: pairs, Settings: []string{"nvgre=on"}},
		{Name: "source"},
	}})
	vm := rig.RawGuests(t, harness.Guest{Name: "rss", NICs: []harness.NIC{rig.Device.NIC(d.Port("vm0"))}})[0]
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
	// What the driver chose by itself, without hashes for itself.
	w := steered{hashing: hashing{ports: allPorts, inner: true}}
	w.key, w.table = b.table(ctx)
	if len(w.key) != 40 || len(w.table) != 128 {
		t.Fatalf("ethtool -x shows a key of %d bytes and a table of %d entries, want 40 and 128", len(w.key), len(w.table))
	}
	b.check(ctx, "the driver's choice", flows/10, w)
	first := w

	chosen := make([]byte, 40)
	for i := range chosen {
		chosen[i] = byte(b.rnd.Uint32())
	}
	text := make([]string, len(chosen))
	for i, v := range chosen {
		text[i] = fmt.Sprintf("%02x", v)
	}
	b.must(ctx, "-X", "hkey", strings.Join(text, ":"), "weight", "3", "0", "5", "1")
	w.key, w.table = b.table(ctx)
	if !bytes.Equal(w.key, chosen) || slices.Contains(w.table, 1) || !slices.Contains(w.table, 3) {
		t.Errorf("ethtool -x shows key %x, table %v; want key %x and pair 1 nowhere", w.key, w.table, chosen)
	}
	b.must(ctx, "-K", "rxhash", "on")
	w.reported = true
	all, hashes := b.check(ctx, "ethtool -X", flows, w)
	b.differ(all, hashes, "the key before", first.hashing)
	b.differ(all, hashes, "outer headers alone", hashing{key: w.key, ports: allPorts})

	b.must(ctx, "-N", "rx-flow-hash", "udp4", "sd")
	b.must(ctx, "-N", "rx-flow-hash", "tcp6", "sd")
	w.ports = []string{"tcp4", "udp6"}
	b.check(ctx, "ethtool -N", flows, w)
	b.must(ctx, "-N", "rx-flow-hash", "udp4", "sdfn")
	b.must(ctx, "-N", "rx-flow-hash", "tcp6", "sdfn")
	w.ports = allPorts
	b.nvgre(ctx, "off")
	w.inner = false
	b.check(ctx, "NVGRE off", flows, w)
	b.nvgre(ctx, "on")
	w.inner = true
	b.lastWriter(ctx, w)

	b.must(ctx, "-K", "rxhash", "off")
	b.check(ctx, "without hashes", flows/10, steered{})
	b.checkCoalescing(ctx)
	b.shows(ctx, "Moderation: ENABLED", "oid", "query", "vm0", "OID_GEN_INTERRUPT_MODERATION")
	d.CheckQuiet(t)
}

// lastWriter has nvgrectl replace what the guest's driver has set, which it
// shows, and the driver that again.
func (b *bench) lastWriter(ctx context.Context, driver steered) {
	b.Helper()
	b.shows(ctx, fmt.Sprintf("key         %x\n", driver.key), "rss", "show", "vm0")
	key := slices.Clone(driver.key)
	slices.Reverse(key)
	ours := steered{hashing: hashing{key: key, ports: allPorts, inner: true}, table: []int{3, 1}, reported: true}
	if _, err := b.daemon.Ctl(ctx, "rss", "set", "vm0", fmt.Sprintf("key=%x", key), "table=3,1", "types=ipv4,tcp-ipv4,udp-ipv4,ipv6,tcp-ipv6,udp-ipv6"); err != nil {
		b.Fatal(err)
	}
	b.check(ctx, "nvgrectl rss set", flows/10, ours)
	// The driver sends all that it wants with any change.
	b.must(ctx, "-X", "weight", "3", "0", "5", "1")
	b.check(ctx, "ethtool -X again", flows/10, driver)
	b.shows(ctx, fmt.Sprintf("key         %x\n", driver.key), "rss", "show", "vm0")
}

// shows fails unless nvgrectl prints want.
func (b *bench) shows(ctx context.Context, want string, args ...string) {
	b.Helper()
	if out, err := b.daemon.Ctl(ctx, args...); err != nil || !strings.Contains(out, want) {
		b.Errorf("nvgrectl %s: %v, %q; want %q in it", strings.Join(args, " "), err, out, want)
	}
}

// nvgre turns the tunnel's offloads on or off.
func (b *bench) nvgre(ctx context.Context, state string) {
	b.Helper()
	if _, err := b.daemon.Ctl(ctx, "offload", "set", "vm0", "nvgre="+state); err != nil {
		b.Fatal(err)
	}
}

// differ fails unless the hashes of tunnelled packets differ from those of
// another way of hashing, nearly all of them: it shows that a check can fail.
func (b *bench) differ(all []flow, hashes []uint32, what string, h hashing) {
	b.Helper()
	n, total := 0, 0
	for i := range all {
		if all[i].inner == nil {
			continue
		}
		total++
		if h.of(&all[i]) != hashes[i] {
			n++
		}
	}
	if n < total*99/100 {
		b.Errorf("hashes by %s: %d of %d differ, want all", what, n, total)
	}
}

// checkCoalescing has the guest ask for an interrupt every 50 ms and sends it
// frames for longer.
func (b *bench) checkCoalescing(ctx context.Context) {
	b.Helper()
	const delay = 50 * time.Millisecond
	b.must(ctx, "-C", "rx-usecs", fmt.Sprint(delay.Microseconds()), "rx-frames", "100000")
	before := b.daemon.MustStatus(b)
	start := time.Now()
	b.check(ctx, "with delayed interrupts", flows/10, steered{})
	calls := b.daemon.MustStatus(b).Since(before).Port("vm0").Total(rig.RX).Calls
	elapsed := time.Since(start)
	// All came on one queue.
	if limit := uint64(elapsed/delay) + 2; calls == 0 || calls > limit {
		b.Errorf("%d interrupts in %v, want 1 to %d", calls, elapsed, limit)
	}
}
