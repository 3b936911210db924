package queues

import (
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
)

// An account divides the time between what rounds turn out to be, and shows a
// sleep while it lasts.
func TestAccount(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		at   time.Duration // a round begins, with at less than 0: none does
		do   string        // what it turns out to be
		look time.Duration // when somebody looks afterwards
		want ShardStatus
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"before it begins", []step{
			{-1, "", 7 * ms, ShardStatus{Asleep: 7 * ms}},
			{10 * ms, "busy", 12 * ms, ShardStatus{Asleep: 10 * ms}},
		}},
		{"busy and in vain", []step{
			{10 * ms, "busy", 10 * ms, ShardStatus{Asleep: 10 * ms}},
			{12 * ms, "poll", 13 * ms, ShardStatus{Asleep: 10 * ms, Busy: 2 * ms}},
			{15 * ms, "busy", 15 * ms, ShardStatus{Asleep: 10 * ms, Busy: 2 * ms, Polling: 3 * ms}},
		}},
		{"short rounds are published together", []step{
			{10 * ms, "busy", 10 * ms, ShardStatus{Asleep: 10 * ms}},
			{10*ms + 400e3, "busy", 11 * ms, ShardStatus{Asleep: 10 * ms}},
			{10*ms + 800e3, "poll", 11 * ms, ShardStatus{Asleep: 10 * ms}},
			{11*ms + 200e3, "busy", 12 * ms, ShardStatus{Asleep: 10 * ms, Busy: 800e3, Polling: 400e3}},
		}},
		{"naps", []step{
			{10 * ms, "nap", 15 * ms, ShardStatus{Asleep: 10 * ms}},
			{11 * ms, "nap", 15 * ms, ShardStatus{Asleep: 11 * ms}},
		}},
		{"sleep", []step{
			{10 * ms, "busy", 10 * ms, ShardStatus{Asleep: 10 * ms}},
			{12 * ms, "rest", 15 * ms, ShardStatus{Asleep: 13 * ms, Busy: 2 * ms}},
			{-1, "", 5000 * ms, ShardStatus{Asleep: 4998 * ms, Busy: 2 * ms}},
			{-1, "", 4000 * ms, ShardStatus{Asleep: 4998 * ms, Busy: 2 * ms}},            // who had read the clock earlier
			{4999 * ms, "busy", 4999 * ms, ShardStatus{Asleep: 4998 * ms, Busy: 2 * ms}}, // it had woken up unseen
			{5001 * ms, "rest", 5001 * ms, ShardStatus{Asleep: 4998 * ms, Busy: 4 * ms}},
			{5011 * ms, "rest", 5012 * ms, ShardStatus{Asleep: 5008 * ms, Busy: 4 * ms}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount()
			for i, st := range tt.steps {
				if st.at >= 0 {
					a.round(st.at)
				}
				switch st.do {
				case "poll":
					a.idle(0)
				case "nap":
					a.idle(ms)
				case "rest":
					a.rest()
				}
				if got := a.status(st.look); got != st.want {
					t.Fatalf("step %d: status(%v) = %+v, want %+v", i, st.look, got, st.want)
				}
			}
		})
	}
}

// Shards say what they do, and their times add up.
func TestShards(t *testing.T) {
	e := newEngine(t, 2)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	exchange(t, a, b, 60)
	const frames = 100
	for range frames {
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		b.recv(0)
	}
	var all []ShardStatus
	a.wait("both shards asleep", func() bool {
		before := e.clock()
		all = e.Shards()
		after := e.clock()
		for _, st := range all {
			switch sum := st.Busy + st.Polling + st.Asleep; {
			case sum > after:
				t.Errorf("shard %d accounts for %v of %v", st.ID, sum, after)
			case sum < before: // it is awake, and has not said all
				return false
			}
		}
		time.Sleep(time.Millisecond)
		again := e.Shards()
		for i, st := range again {
			if st.Asleep <= all[i].Asleep || st.Busy != all[i].Busy {
				return false
			}
		}
		return true
	})
	var sum ShardStatus
	for i, st := range all {
		if st.ID != i || st.CPU != -1 {
			t.Errorf("shard %d is shown as %+v", i, st)
		}
		sum.Frames += st.Frames
		sum.Wakeups += st.Wakeups
		sum.Busy += st.Busy
	}
	if sum.Frames < frames || sum.Frames > frames+10 || sum.Wakeups == 0 || sum.Busy == 0 {
		t.Errorf("shards took %d frames with %d wake-ups in %v, want some more than %d frames", sum.Frames, sum.Wakeups, sum.Busy, frames)
	}
}

// BenchmarkAccount measures what the account costs a round, at rounds of 5 µs,
// a short batch's.
func BenchmarkAccount(b *testing.B) {
	a := newAccount()
	now := time.Duration(0)
	for b.Loop() {
		now += 5 * time.Microsecond
		a.round(now)
	}
}
