package rxfilter_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

var (
	own       = virtio.MAC{0x52, 0x54, 0, 0, 0, 1}
	broadcast = virtio.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// naive says what the specification says, sentence by sentence, over lists.
type naive struct {
	features           virtio.Features
	mac                virtio.MAC
	modes              [ctrl.RXModes]bool
	unicast, multicast []virtio.MAC
	vlans              map[uint16]bool
}

func (n *naive) accept(dst virtio.MAC, tci uint16, tagged bool) bool {
	if n.modes[ctrl.Promisc] {
		return true // wins over all else
	}
	if n.features.Has(virtio.FeatureCtrlVLAN) && tagged && !n.vlans[tci&0x0fff] {
		return false
	}
	canSet := n.features.Has(virtio.FeatureCtrlRX)
	if dst == broadcast {
		return !n.modes[ctrl.NoBcast] // whatever ALLMULTI and NOMULTI say
	}
	if dst.IsMulticast() {
		if n.modes[ctrl.NoMulti] {
			return false // beats ALLMULTI
		}
		return !canSet || n.modes[ctrl.AllMulti] || len(n.multicast) > rxfilter.MaxAddresses || slices.Contains(n.multicast, dst)
	}
	if n.modes[ctrl.NoUni] {
		return false // beats ALLUNI
	}
	return !canSet || n.modes[ctrl.AllUni] || len(n.unicast) > rxfilter.MaxAddresses || dst == n.mac || slices.Contains(n.unicast, dst)
}

// station and group return the i-th address of their kind.
func station(i int) virtio.MAC {
	return virtio.MAC{2, 0xaa, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
}

func group(i int) virtio.MAC {
	return virtio.MAC{1, 0, 0x5e, byte(i >> 16), byte(i >> 8), byte(i)}
}

func stations(n int) (list []virtio.MAC) {
	for i := range n {
		list = append(list, station(i))
	}
	return list
}

func groups(n int) (list []virtio.MAC) {
	for i := range n {
		list = append(list, group(i))
	}
	return list
}

// Every combination of modes, features, tables (empty, short, full, too long)
// and VLAN sets, with frames of every kind.
//
// Shows: VNET-110, VNET-111, VNET-112, VNET-114, VNET-117, VNET-119, VNET-121, VNET-122
func TestAccept(t *testing.T) {
	sizes := []int{0, 1, 3, rxfilter.MaxAddresses, rxfilter.MaxAddresses + 1}
	frames := []virtio.MAC{
		own, broadcast,
		{},
		{0x52, 0x54, 0, 0, 0, 2},
		{1},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xfe},
		{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff},
		station(0), station(2), station(3), station(rxfilter.MaxAddresses - 1), station(rxfilter.MaxAddresses), station(1 << 20),
		group(0), group(2), group(3), group(rxfilter.MaxAddresses - 1), group(rxfilter.MaxAddresses), group(1 << 20),
	}
	tags := []struct {
		tci    uint16
		tagged bool
	}{{0, false}, {5, false}, {0, true}, {5, true}, {0xf005, true}, {6, true}, {4095, true}}
	for _, features := range []virtio.Features{
		0,
		virtio.FeatureCtrlRX | virtio.FeatureCtrlRXExtra,
		virtio.FeatureCtrlRXExtra,
		virtio.FeatureCtrlVLAN,
		virtio.FeatureCtrlRX | virtio.FeatureCtrlRXExtra | virtio.FeatureCtrlVLAN,
	} {
		for _, nuni := range sizes {
			for _, nmulti := range sizes {
				unicast, multicast := stations(nuni), groups(nmulti)
				tables := rxfilter.New(own, features).WithTables(unicast, multicast).WithVLAN(5, true).WithVLAN(4095, true)
				for modes := range 1 << ctrl.RXModes {
					f := tables
					ref := naive{
						features: features, mac: own, unicast: unicast, multicast: multicast,
						vlans: map[uint16]bool{5: true, 4095: true},
					}
					for m := range ctrl.RXModes {
						ref.modes[m] = modes>>m&1 != 0
						f = f.WithMode(ctrl.RXMode(m), ref.modes[m])
					}
					for _, dst := range frames {
						for _, tag := range tags {
							got, want := f.Accept(dst, tag.tci, tag.tagged), ref.accept(dst, tag.tci, tag.tagged)
							if got != want {
								t.Fatalf("features %s, modes %06b, %d unicast, %d multicast: Accept(%s, 0x%x, %t) = %t, want %t",
									features, modes, nuni, nmulti, dst, tag.tci, tag.tagged, got, want)
							}
						}
					}
				}
			}
		}
	}
}

// The state after a reset, by what was negotiated.
//
// Shows: VNET-114, VNET-117, VNET-121, VNET-122
func TestNew(t *testing.T) {
	other, multi := virtio.MAC{0x52, 0x54, 0, 0, 0, 9}, group(1)
	for _, tt := range []struct {
		features virtio.Features
		dst      virtio.MAC
		tagged   bool
		want     bool
	}{
		{0, own, false, true},
		{0, other, false, true},
		{0, multi, true, true},
		{0, broadcast, true, true},
		{virtio.FeatureCtrlRX, own, false, true},
		{virtio.FeatureCtrlRX, own, true, true},
		{virtio.FeatureCtrlRX, broadcast, false, true},
		{virtio.FeatureCtrlRX, other, false, false},
		{virtio.FeatureCtrlRX, multi, false, false},
		{virtio.FeatureCtrlVLAN, other, false, true},
		{virtio.FeatureCtrlVLAN, other, true, false},
		{virtio.FeatureCtrlVLAN, broadcast, true, false},
	} {
		if got := rxfilter.New(own, tt.features).Accept(tt.dst, 7, tt.tagged); got != tt.want {
			t.Errorf("New(%s, %s).Accept(%s, 7, %t) = %t, want %t", own, tt.features, tt.dst, tt.tagged, got, tt.want)
		}
	}
}

// A changed filter is another one; the original stays as it was.
//
// Shows: VNET-115, VNET-116, VNET-124
func TestSnapshots(t *testing.T) {
	const features = virtio.FeatureCtrlRX | virtio.FeatureCtrlVLAN
	moved := virtio.MAC{0x52, 0x54, 0, 0, 0, 0x77}
	base := rxfilter.New(own, features).WithTables(stations(3), groups(2)).WithVLAN(10, true).WithVLAN(9, true)
	before := base.State()
	want := rxfilter.State{
		MAC: own, Unicast: stations(3), Multicast: groups(2),
		VLANFilter: true, VLANs: []uint16{9, 10},
	}
	if !reflect.DeepEqual(before, want) {
		t.Fatalf("State = %+v, want %+v", before, want)
	}

	f := base.WithMAC(moved)
	if !f.Accept(moved, 0, false) || f.Accept(own, 0, false) || f.State().MAC != moved {
		t.Errorf("WithMAC(%s): accepts new %t, old %t", moved, f.Accept(moved, 0, false), f.Accept(own, 0, false))
	}
	f = base.WithTables(nil, nil)
	if f.Accept(station(0), 0, false) || f.Accept(group(0), 0, false) || !f.Accept(own, 0, false) {
		t.Errorf("WithTables(nil, nil) left addresses behind or lost the own one")
	}
	f = base.WithVLAN(10, false).WithVLAN(11, false).WithVLAN(4096, true).WithVLAN(65535, false)
	if got := f.State().VLANs; !slices.Equal(got, []uint16{9}) || f.Accept(own, 10, true) {
		t.Errorf("after removing VLAN 10 and absent ones: VLANs %v, want [9]", got)
	}
	f = base.WithMode(ctrl.NoUni, true).WithMode(ctrl.RXMode(200), true)
	if f.Accept(own, 0, false) || !f.State().Modes[ctrl.NoUni] {
		t.Errorf("WithMode(nouni): own address accepted")
	}
	f = base.WithTables(stations(rxfilter.MaxAddresses+1), groups(rxfilter.MaxAddresses+1))
	if s := f.State(); !s.UnicastOverflow || !s.MulticastOverflow || s.Unicast != nil || s.Multicast != nil {
		t.Errorf("tables too long: State = %+v", s)
	}
	if s := f.WithTables(nil, nil).State(); s.UnicastOverflow || s.MulticastOverflow {
		t.Errorf("tables short again: State = %+v", s)
	}
	if none := rxfilter.New(own, 0); none.WithVLAN(3, false) != none || none.State().VLANFilter {
		t.Error("WithVLAN without CTRL_VLAN made another filter")
	}

	if after := base.State(); !reflect.DeepEqual(before, after) || !base.Accept(own, 10, true) || !base.Accept(station(2), 9, true) {
		t.Errorf("the original changed from %+v to %+v", before, after)
	}
}

// Of makes the same filter as the steps that lead to a state, keeps what it is
// given apart, and bounds it.
func TestOf(t *testing.T) {
	steps := []*rxfilter.Filter{
		rxfilter.New(own, 0),
		rxfilter.New(own, virtio.FeatureCtrlRX),
		rxfilter.New(own, virtio.FeatureCtrlRX|virtio.FeatureCtrlVLAN),
		rxfilter.New(own, virtio.FeatureCtrlRX|virtio.FeatureCtrlVLAN).WithVLAN(5, true).WithVLAN(4095, true).WithTables(stations(3), groups(2)).WithMode(ctrl.NoBcast, true),
		rxfilter.New(own, virtio.FeatureCtrlRX).WithTables(stations(rxfilter.MaxAddresses+1), groups(1)).WithMode(ctrl.AllMulti, true),
	}
	for i, f := range steps {
		again := rxfilter.Of(f.State())
		if !reflect.DeepEqual(again.State(), f.State()) {
			t.Errorf("%d: Of(%+v).State() = %+v, want the same", i, f.State(), again.State())
		}
		for _, dst := range []virtio.MAC{own, broadcast, station(0), station(9), group(0), group(9)} {
			for _, id := range []uint16{0, 5, 4095} {
				for _, tagged := range []bool{false, true} {
					if got, want := again.Accept(dst, id, tagged), f.Accept(dst, id, tagged); got != want {
						t.Errorf("%d: Of(%+v).Accept(%s, %d, %t) = %t, want %t", i, f.State(), dst, id, tagged, got, want)
					}
				}
			}
		}
	}
	s := rxfilter.State{
		MAC: own, Unicast: stations(rxfilter.MaxAddresses + 1), Multicast: groups(2),
		VLANFilter: true, VLANs: []uint16{9, 4096, 65535, 3, 9},
	}
	f := rxfilter.Of(s)
	s.Multicast[0], s.VLANs[0] = group(77), 77
	want := rxfilter.State{
		MAC: own, UnicastOverflow: true, Multicast: groups(2), VLANFilter: true, VLANs: []uint16{3, 9},
	}
	if got := f.State(); !reflect.DeepEqual(got, want) {
		t.Errorf("State() = %+v, want %+v", got, want)
	}
	if !f.Accept(station(1<<20), 3, true) || f.Accept(own, 4, true) || f.Accept(own, 77, true) {
		t.Error("a filter with a table too long and VLANs 3 and 9 takes what it should not, or not what it should")
	}
}

// The driver's slices may be reused after the call, and lists of the wrong
// kind or with repetitions do no harm.
func TestTables(t *testing.T) {
	unicast, multicast := stations(4), groups(4)
	unicast = append(unicast, group(100), station(1), virtio.MAC{})
	multicast = append(multicast, station(100), group(1), broadcast)
	f := rxfilter.New(own, virtio.FeatureCtrlRX).WithTables(unicast, multicast)
	clear(unicast)
	clear(multicast)
	for _, tt := range []struct {
		dst  virtio.MAC
		want bool
	}{
		{station(0), true},
		{station(3), true},
		{group(3), true},
		{virtio.MAC{}, true},
		{group(100), false},
		{station(100), false},
		{broadcast, true},
	} {
		if got := f.Accept(tt.dst, 0, false); got != tt.want {
			t.Errorf("Accept(%s) = %t, want %t", tt.dst, got, tt.want)
		}
	}
}

// Random tables of every size up to the bound, with members and strangers.
func TestTableSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	random := func(group byte) (m virtio.MAC) {
		for i := range m {
			m[i] = byte(r.Uint32())
		}
		m[0] = m[0]&^1 | group
		return m
	}
	for n := 0; n <= rxfilter.MaxAddresses; n += 1 + n/4 {
		for _, kind := range []byte{0, 1} {
			list := make([]virtio.MAC, n)
			members := map[virtio.MAC]bool{}
			for i := range list {
				list[i] = random(kind)
				members[list[i]] = true
			}
			f := rxfilter.New(own, virtio.FeatureCtrlRX)
			if kind == 0 {
				f = f.WithTables(list, nil)
			} else {
				f = f.WithTables(nil, list)
			}
			for m := range members {
				if !f.Accept(m, 0, false) {
					t.Fatalf("table of %d: %s is not found", n, m)
				}
			}
			for range 1000 {
				if m := random(kind); f.Accept(m, 0, false) != members[m] {
					t.Fatalf("table of %d: Accept(%s) = %t, want %t", n, m, !members[m], members[m])
				}
			}
		}
	}
}

func TestEveryVLAN(t *testing.T) {
	f := rxfilter.New(own, virtio.FeatureCtrlVLAN)
	in := map[uint16]bool{}
	r := rand.New(rand.NewPCG(7, 8))
	for range 600 {
		id, add := uint16(r.IntN(4096)), r.IntN(3) > 0
		f = f.WithVLAN(id, add)
		in[id] = add
	}
	for tci := range 1 << 16 {
		if got, want := f.Accept(own, uint16(tci), true), in[uint16(tci&0xfff)]; got != want {
			t.Fatalf("Accept with TCI 0x%x = %t, want %t", tci, got, want)
		}
	}
}

// FuzzFilter applies commands as a driver would and compares with the naive
// filter after each.
func FuzzFilter(f *testing.F) {
	f.Add(uint64(virtio.FeatureCtrlRX|virtio.FeatureCtrlVLAN), []byte("\x00\x01\x02\x00\x03\x07\x04\x05"))
	f.Fuzz(func(t *testing.T, features uint64, script []byte) {
		ref := naive{features: virtio.Features(features), mac: own, vlans: map[uint16]bool{}}
		filter := rxfilter.New(own, ref.features)
		for i := 0; i+1 < len(script) && i < 200; i += 2 {
			op, arg := script[i], int(script[i+1])
			switch op % 5 {
			case 0:
				m := ctrl.RXMode(arg % ctrl.RXModes)
				ref.modes[m] = op&0x80 != 0
				filter = filter.WithMode(m, ref.modes[m])
			case 1:
				ref.unicast, ref.multicast = stations(arg%16), groups(arg/16)
				filter = filter.WithTables(ref.unicast, ref.multicast)
			case 2:
				ref.mac = station(arg)
				filter = filter.WithMAC(ref.mac)
			default:
				id := uint16(arg) * 16
				ref.vlans[id] = op%5 == 3
				filter = filter.WithVLAN(id, ref.vlans[id])
			}
			for _, dst := range []virtio.MAC{own, broadcast, station(arg), group(arg), station(3), group(3)} {
				for _, tagged := range []bool{false, true} {
					if got, want := filter.Accept(dst, uint16(arg)*16, tagged), ref.accept(dst, uint16(arg)*16, tagged); got != want {
						t.Fatalf("%+v: Accept(%s, 0x%x, %t) = %t, want %t", ref, dst, arg*16, tagged, got, want)
					}
				}
			}
		}
	})
}

func BenchmarkAccept(b *testing.B) {
	promisc := rxfilter.New(own, virtio.FeatureCtrlRX).WithMode(ctrl.Promisc, true)
	usual := rxfilter.New(own, virtio.FeatureCtrlRX|virtio.FeatureCtrlVLAN).WithTables(nil, groups(5)).WithVLAN(1, true)
	full := usual.WithTables(stations(rxfilter.MaxAddresses), groups(rxfilter.MaxAddresses))
	for _, bc := range []struct {
		name string
		f    *rxfilter.Filter
		dst  func(i int) virtio.MAC
	}{
		{"promisc", promisc, station},
		{"own", usual, func(int) virtio.MAC { return own }},
		{"broadcast", usual, func(int) virtio.MAC { return broadcast }},
		{"group", usual, func(i int) virtio.MAC { return group(i % 5) }},
		{"stranger", usual, func(i int) virtio.MAC { return station(i) }},
		{fmt.Sprintf("member of %d", rxfilter.MaxAddresses), full, func(i int) virtio.MAC { return station(i % rxfilter.MaxAddresses) }},
	} {
		frames := make([]virtio.MAC, 256)
		for i := range frames {
			frames[i] = bc.dst(i)
		}
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for i := range b.N {
				if bc.f.Accept(frames[i%len(frames)], 1, i%2 == 0) {
					n++
				}
			}
			if n != 0 && n != b.N {
				b.Fatalf("%d of %d accepted", n, b.N)
			}
		})
	}
}
