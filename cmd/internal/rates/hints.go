package rates

import (
	"fmt"
	"slices"
	"strings"

	"vhost-user-nvgre/cmd/internal/control"
)

// A rule says what a sample suggests, and nothing where the evidence is not
// clear. The status is the one at the sample's end.
type rule func(*Sample, *control.Status) []string

// hints asks all rules.
func hints(s *Sample, st *control.Status) []string {
	all := []string{}
	for _, r := range []rule{broken, noRoom, ownSegments, cut, overloaded, busyShards, guestsLimit} {
		all = append(all, r(s, st)...)
	}
	return all
}

const (
	// A few frames that wait, or a little traffic, say nothing.
	noRoomRate  = 10.0 // frames a second
	noRoomPart  = 0.05 // of the frames received
	steadyRate  = 1000.0
	steadyBits  = 10e6
	busyPart    = 0.95
	asleepPart  = 0.5
	starvedPart = 0.75 // of the processors that threads could use
)

// broken names queues that stopped for good.
func broken(_ *Sample, st *control.Status) (out []string) {
	for i := range st.Ports {
		for _, q := range st.Ports[i].Queues {
			if q.State == "broken" {
				out = append(out, fmt.Sprintf("%s: queue %d is broken: %s", st.Ports[i].Name, q.Index, q.Reason))
			}
		}
	}
	return out
}

// noRoom names ports that take frames more slowly than they come.
func noRoom(s *Sample, st *control.Status) (out []string) {
	for i := range s.Ports {
		p := &s.Ports[i]
		var frames, waited, dropped float64
		for _, q := range p.Queues {
			if q.Kind == "rx" {
				frames += q.Frames
				waited += q.Waited
				dropped += q.Drops["rx_full"]
			}
		}
		if waited+dropped < noRoomRate || waited+dropped < noRoomPart*(frames+dropped) {
			continue
		}
		lost := ""
		if dropped > 0 {
			lost = fmt.Sprintf(", and %.0f/s are dropped", dropped)
		}
		if at := find(st, p.Name); at != nil && isWire(at) {
			out = append(out, fmt.Sprintf("%s: frames wait for room%s: %s takes them more slowly than they come", p.Name, lost, at.Place))
		} else {
			out = append(out, fmt.Sprintf("%s: frames wait for receive buffers%s: the guest's driver does not refill its ring fast enough", p.Name, lost))
		}
	}
	return out
}

// ownSegments names guests that send frames as long as their MTU at a high
// rate: the NIC would take much longer ones.
func ownSegments(s *Sample, st *control.Status) (out []string) {
	for i := range s.Ports {
		at := find(st, s.Ports[i].Name)
		if at == nil || isWire(at) {
			continue
		}
		// In between lie NVGRE and acknowledgements among the data.
		frames, mean := total(&s.Ports[i], "tx")
		if frames < steadyRate || mean < 0.8*longest(at) || mean > longest(at) {
			continue
		}
		if slices.Contains(at.Negotiated, "host_tso4") || slices.Contains(at.Negotiated, "host_tso6") {
			out = append(out, fmt.Sprintf("%s: frames are small (%.0f bytes): the guest segments itself, see ethtool -K INTERFACE tso on, or sends datagrams one by one", at.Name, mean))
		} else {
			out = append(out, fmt.Sprintf("%s: frames are small (%.0f bytes): the guest's driver has not negotiated host_tso4 or host_tso6, so the guest segments itself", at.Name, mean))
		}
	}
	return out
}

// cut names guests that others' super-frames are cut for.
func cut(s *Sample, st *control.Status) (out []string) {
	sent := 0.0
	for i := range s.Ports {
		_, mean := total(&s.Ports[i], "tx")
		sent = max(sent, mean)
	}
	for i := range s.Ports {
		at := find(st, s.Ports[i].Name)
		frames, mean := total(&s.Ports[i], "rx")
		if at == nil || isWire(at) || sent < 2*longest(at) || frames < steadyRate || mean > longest(at) ||
			slices.Contains(at.Negotiated, "guest_tso4") || slices.Contains(at.Negotiated, "guest_tso6") {
			continue
		}
		out = append(out, fmt.Sprintf("%s: super-frames are cut for it: the guest's driver has not negotiated guest_tso4 or guest_tso6", at.Name))
	}
	return out
}

// overloaded says that worker threads wait for processors.
func overloaded(s *Sample, _ *control.Status) []string {
	want := 0.0
	for _, sh := range s.Shards {
		want += sh.Busy + sh.Polling
	}
	if s.CPUs == 0 || want < 0.5 || s.CPUs >= starvedPart*want {
		return nil
	}
	return []string{fmt.Sprintf("worker threads could use %.1f processors and get %.1f: the machine is overloaded", want, s.CPUs)}
}

// busyShards names worker threads that cannot do more.
func busyShards(s *Sample, st *control.Status) (out []string) {
	if len(overloaded(s, st)) > 0 {
		return nil
	}
	for _, sh := range s.Shards {
		if sh.Busy < busyPart {
			continue
		}
		var from []string
		for i := range s.Ports {
			for _, q := range s.Ports[i].Queues {
				if q.Kind == "tx" && q.Shard == sh.ID && q.Frames > 0 {
					from = append(from, fmt.Sprintf("queue %d of %s", q.Index, s.Ports[i].Name))
				}
			}
		}
		switch begin := fmt.Sprintf("shard %d is busy %.0f %% of the time", sh.ID, 100*sh.Busy); len(from) {
		case 0:
			out = append(out, begin)
		case 1:
			out = append(out, begin+", with "+strings.Join(from, "")+" alone: more queue pairs may help, with --shards to match and more streams")
		default:
			out = append(out, begin+": more --shards may help")
		}
	}
	return out
}

// guestsLimit says that nothing here is the limit.
func guestsLimit(s *Sample, st *control.Status) []string {
	frames, bits, asleep := 0.0, 0.0, 1.0
	for i := range s.Ports {
		p := &s.Ports[i]
		at := find(st, p.Name)
		n, mean := total(p, "tx")
		if n > 0 && (at == nil || isWire(at)) {
			return nil // as fast as somebody else sends
		}
		frames += n
		bits += 8 * n * mean
	}
	for _, sh := range s.Shards {
		asleep = min(asleep, sh.Asleep)
	}
	if len(s.Shards) == 0 || asleep < asleepPart || frames < steadyRate && bits < steadyBits || len(noRoom(s, st)) > 0 {
		return nil
	}
	who, least := "worker threads sleep", " at least"
	if len(s.Shards) == 1 {
		who, least = "the worker thread sleeps", ""
	}
	return []string{fmt.Sprintf("%s%s %.0f %% of the time: the guests are the limit", who, least, 100*asleep)}
}

// longest returns how many bytes a frame that is no super-frame has at most, as
// far as the driver is told: with the header and a VLAN tag.
func longest(p *control.Port) float64 {
	if p.MTU == 0 {
		return 1518
	}
	return float64(p.MTU) + 18
}

// total returns the rate of a port's frames in one direction, and their mean
// length.
func total(p *Port, kind string) (frames, mean float64) {
	bits := 0.0
	for _, q := range p.Queues {
		if q.Kind == kind {
			frames += q.Frames
			bits += q.Bits
		}
	}
	return frames, per(bits/8, frames)
}

// isWire reports whether the port leads to something that is no guest.
func isWire(p *control.Port) bool { return p.Kind != "" && p.Kind != "vhost-user" }
