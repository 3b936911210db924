package offloads

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rawframe"
	"vhost-user-nvgre/virtio"
)

// walk is the life cycle of a NIC's offloads as a guest's driver goes through
// it. vm0 is the guest's port, vm1 that of a front end in this process.
type walk struct {
	*bench
	far       *receiver
	mac       [2]virtio.MAC // of vm0 and vm1
	plain, on hashing       // without NVGRE and with it
	watch     *harness.GuestProcess
	told      int // indications seen
}

// lifeCycle goes through section "state" of the documentation, each step with
// traffic: off, on, off under load.
func lifeCycle(ctx context.Context, t *testing.T, b *bench, far *receiver) {
	w := &walk{bench: b, far: far}
	w.T = t
	for i, name := range []string{"vm0", "vm1"} {
		var err error
		if w.mac[i], err = virtio.ParseMAC(b.daemon.Port(name).MAC); err != nil {
			t.Fatal(err)
		}
	}
	w.must(ctx, "-K", "rxhash", "on", "gro", "off")
	key, _ := w.table(ctx)
	w.plain = hashing{key: key, ports: allPorts}
	w.on = hashing{key: key, ports: allPorts, inner: true}
	var err error
	w.watch, err = w.peer.Start(ctx, harness.Command{Argv: []string{"nvgre-guest", "watch", "--json"}})
	if err != nil {
		t.Fatal(err)
	}

	if hw := w.query(ctx, "OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES"); hw.GRE.LSOv2 == "" || hw.GRE.ReceiveChecksum == "" || hw.GRE.RSS == "" {
		t.Errorf("hardware capabilities: %+v, want all of NVGRE", hw)
	}
	w.is(ctx, "at first", false)

	w.guest(ctx, "offload", "on", "framing", "nvgre")
	w.indicated(ctx, 2, true)
	w.is(ctx, "NVGRE on", true)

	for n := 0; !w.offUnderLoad(ctx); n++ {
		w.indicated(ctx, 1, false)
		if n == rounds {
			t.Fatal("the guest never had buffers for everything")
		}
		w.guest(ctx, "offload", "on", "nvgre")
		w.indicated(ctx, 1, true)
	}
	w.indicated(ctx, 1, false)
	w.is(ctx, "NVGRE off", false)
	if err := w.watch.Kill(ctx, 9); err != nil {
		t.Error(err)
	}
}

// shown is what the guest reads of a configuration.
type shown struct {
	GRE                struct{ LSOv2, ReceiveChecksum, RSS string }
	EncapsulationTypes string
}

func (s *shown) operational() bool { return s.EncapsulationTypes == "GRE_MAC" }

func (w *walk) guest(ctx context.Context, args ...string) string {
	w.Helper()
	out, err := w.peer.Output(ctx, append([]string{"nvgre-guest"}, args...)...)
	if err != nil {
		w.Fatalf("nvgre-guest %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *walk) query(ctx context.Context, oid string) (s shown) {
	w.Helper()
	out := w.guest(ctx, "query", oid, "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		w.Fatalf("%s: %v\n%s", oid, err, out)
	}
	return s
}

// indicated waits for n more indications of the configuration, of which the
// last has to say whether NVGRE is operational.
func (w *walk) indicated(ctx context.Context, n int, on bool) {
	w.Helper()
	w.told += n
	var lines []string
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		lines = strings.Split(strings.TrimSpace(w.watch.Stdout.String()), "\n")
		if len(lines) >= w.told && lines[0] != "" {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			w.Fatalf("%d indications, want %d: %s", len(lines), w.told, lines)
		}
	}
	var last struct {
		Status  string
		Dropped int
		Body    shown
	}
	err := json.Unmarshal([]byte(lines[len(lines)-1]), &last)
	if err != nil || len(lines) != w.told || !strings.Contains(last.Status, "CURRENT_CONFIG") || last.Body.operational() != on || last.Dropped != 0 {
		w.Errorf("indicated %s, %v; want %d, NVGRE operational: %t", lines, err, w.told, on)
	}
}

// is checks that NVGRE is operational or not: what a query says, how frames are
// hashed and validated, whether large sends are carried out.
func (w *walk) is(ctx context.Context, when string, on bool) {
	w.Helper()
	if c := w.query(ctx, "OID_TCP_OFFLOAD_CURRENT_CONFIG"); c.operational() != on {
		w.Errorf("%s: current configuration %+v, want operational: %t", when, c, on)
	}
	w.receives(ctx, when, on)
	for _, v6 := range []bool{false, true} { // Linux takes no super-frames of mixed families
		w.sends(ctx, when, v6, on)
	}
}

// receives sends frames to the guest, some with bad checksums, and looks at
// their packet headers.
func (w *walk) receives(ctx context.Context, when string, on bool) {
	w.Helper()
	const n = 128
	flows := make([]flow, n)
	bad := uint64(0)
	for i := range flows {
		flows[i] = tunnelled(w.rnd, i%2 == 1, i%4 >= 2)
		if i%8 >= 6 {
			flows[i].inner.bad = true
			bad++
		}
	}
	hash := w.plain
	if on {
		hash = w.on
	}
	before := w.daemon.MustStatus(w)
	var headers []rawframe.Frame
	arrivals, err := w.peer.Hashes(ctx, n, func() (err error) {
		headers, err = w.peer.Capture(ctx, func() error {
			for i := range flows {
				w.tx.MustSend(w, virtio.NetHdr{}, w.marked(&flows[i], i))
			}
			return w.tx.Drain(10 * time.Second)
		})
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	seen := 0
	for _, h := range headers {
		i, ok := rawframe.Marked(h.Data)
		if !ok || i >= n || !slices.Equal(h.Data, w.marked(&flows[i], i)) {
			continue
		}
		seen++
		if valid := h.Hdr.Flags&virtio.HdrDataValid != 0; valid != (on && !flows[i].inner.bad) {
			w.Errorf("%s: frame %d, bad checksum: %t, is said to be validated: %t", when, i, flows[i].inner.bad, valid)
		}
	}
	for i, a := range arrivals {
		if want := hash.of(&flows[i]); a.Count != 1 || a.Hash != want {
			w.Errorf("%s: frame %d came as %+v, want hash %#x", when, i, a, want)
		}
	}
	found := uint64(0)
	for i, q := range w.daemon.MustStatus(w).Port("vm0").Queues {
		found += q.Checksums.Transport.Bad - before.Port("vm0").Queues[i].Checksums.Transport.Bad
	}
	if !on {
		bad = 0
	}
	if seen != n || found != bad {
		w.Errorf("%s: %d of %d frames as they were, %d bad checksums counted, want %d", when, seen, n, found, bad)
	}
}

func (w *walk) marked(f *flow, i int) []byte { return rawframe.Mark(f.frame(w.mac[0], w.mac[1]), i) }

// Large sends: size bytes of payload in segments of mss.
const (
	size     = 20_000
	mss      = 1400
	segments = (size + mss - 1) / mss
)

// large returns an NVGRE packet to be segmented.
func (w *walk) large(v6 bool) rawframe.Frame {
	f := tunnelled(w.rnd, v6, v6)
	f.inner.proto, f.inner.data, f.inner.partial = 6, size, true
	h := virtio.NetHdr{Flags: virtio.HdrNeedsCsum, GSOType: virtio.GSOTCPv4, GSOSize: mss, CsumStart: 14 + 20 + 8 + 14 + 20, CsumOffset: 16}
	if v6 {
		h.GSOType = virtio.GSOTCPv6
		h.CsumStart += 40
	}
	h.HdrLen = h.CsumStart + 20
	return rawframe.Frame{Hdr: h, Data: f.frame(w.mac[1], w.mac[0])}
}

// sends has the guest send a large packet.
func (w *walk) sends(ctx context.Context, when string, v6, on bool) {
	w.Helper()
	w.far.take()
	refused := w.refused(ctx)
	if err := w.peer.SendFrames(ctx, w.large(v6)); err != nil {
		w.Fatal(err)
	}
	w.until("the large send has gone", func() bool {
		return w.far.count() >= segments || w.refused(ctx) > refused
	})
	if got := w.refused(ctx) - refused; got != map[bool]uint64{true: 0, false: 1}[on] {
		w.Errorf("%s: %d large sends refused, want NVGRE operational: %t", when, got, on)
	}
	if on {
		w.whole(when, w.far.take(), 1)
	} else if got := w.far.take(); len(got) > 0 {
		w.Errorf("%s: %d frames of a large send that was refused", when, len(got))
	}
}

// refused returns how many large sends were dropped because NVGRE is off.
func (w *walk) refused(ctx context.Context) (n uint64) {
	w.Helper()
	st, err := w.daemon.Status(ctx)
	if err != nil {
		w.Fatal(err)
	}
	return st.Drops()["tx_nvgre_off"]
}

// whole checks that frames are the segments of n large sends.
func (w *walk) whole(when string, frames [][]byte, n int) {
	w.Helper()
	if len(frames) != n*segments {
		w.Errorf("%s: %d segments of %d large sends came, want %d", when, len(frames), n, n*segments)
		return
	}
	for i, b := range frames {
		seq, payload, ok := segment(b)
		at := i % segments * mss
		if !ok || seq != uint32(at) || len(payload) != min(mss, size-at) {
			w.Errorf("%s: segment %d begins at %d with %d bytes, lengths and checksums right: %t, want %d with %d", when, i, seq, len(payload), ok, at, min(mss, size-at))
			return
		}
		for k, v := range payload {
			if v != byte((at+k)/7) {
				w.Errorf("%s: segment %d: byte %d is %#x", when, i, k, v)
				return
			}
		}
	}
}

// segment takes an NVGRE packet with TCP and without options apart. It reports
// whether lengths and checksums are right, outer and inner.
func segment(b []byte) (seq uint32, payload []byte, ok bool) {
	const gre = 8
	ok = true
	var addresses []byte
	rest := b
	for level := range 2 {
		if level == 1 {
			rest = rest[gre:]
		}
		six := rest[12] == 0x86
		rest = rest[14:]
		if six {
			ok = ok && int(binary.BigEndian.Uint16(rest[4:])) == len(rest)-40
			addresses, rest = rest[8:40], rest[40:]
		} else {
			ok = ok && int(binary.BigEndian.Uint16(rest[2:])) == len(rest) && sum(0, rest[:20]) == 0xffff
			addresses, rest = rest[12:20], rest[20:]
		}
	}
	ok = ok && sum(sum(uint32(6+len(rest)), addresses), rest) == 0xffff
	return binary.BigEndian.Uint32(rest[4:]), rest[20:], ok
}

func (w *walk) until(what string, cond func() bool) {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("waited in vain until %s", what)
		}
	}
}
