package loadgen

import "time"

// Result is what a run found.
type Result struct {
	Kind    Kind    `json:"kind"`
	Size    int     `json:"size"`    // bytes of a frame sent
	Outcome Outcome `json:"outcome"` // what the receiver got, "" without one

	Seconds float64 `json:"seconds"` // of the measurement
	// Frames are those delivered, segments counting each, or without receiver
	// those taken. Bytes are theirs, without packet headers, preambles and
	// check sequences.
	Frames uint64  `json:"frames"`
	Bytes  uint64  `json:"bytes"`
	Mpps   float64 `json:"mpps"`
	Gbps   float64 `json:"gbps"`
	Taken  uint64  `json:"taken"` // frames by the back end

	// Lost frames were taken and not delivered, from first to last.
	Lost uint64 `json:"lost"`
	// Looks at the rings, and those that found the back end with nothing left
	// to do: where they are many the generator limits, not the back end.
	Looks   uint64 `json:"looks"`
	Starved uint64 `json:"starved"`
	Kicks   uint64 `json:"kicks"`
	// OwnCPU is the share of its processor that the generator got. Below 1,
	// something else ran there.
	OwnCPU    float64 `json:"own_cpu"`
	HugePages bool    `json:"huge_pages"`
	Flight    uint64  `json:"flight"` // frames in flight at most
	// Features that each side negotiated.
	SendFeatures    []string `json:"send_features"`
	ReceiveFeatures []string `json:"receive_features,omitempty"`
}

func (l *load) result(n counts, wall time.Duration) *Result {
	r := &Result{
		Kind: l.cfg.Kind, Size: l.cfg.Size,
		Seconds: wall.Seconds(), Taken: n.taken, Looks: n.looks, Starved: n.starved,
		HugePages: l.from.huge, Flight: l.flow.flight, SendFeatures: l.from.fe.Features.Names(),
	}
	switch {
	case l.to == nil:
		r.Frames = n.taken
	case l.check.outcome == Segments:
		r.Frames = n.buffers
	default:
		r.Frames = n.buffers / l.flow.perFrame
	}
	r.Bytes = r.Frames * uint64(l.cfg.Size)
	if l.to != nil {
		r.Outcome = l.check.outcome
		r.HugePages = r.HugePages && l.to.huge
		r.ReceiveFeatures = l.to.fe.Features.Names()
		if l.flow.lengths {
			r.Bytes = n.bytes - r.Frames*uint64(l.hdrLen)
		}
	}
	r.Mpps = float64(r.Frames) / r.Seconds / 1e6
	r.Gbps = float64(r.Bytes) * 8 / r.Seconds / 1e9
	return r
}
