package loadgen

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
)

// prepared returns a load with a null back end that runs.
func prepared(t *testing.T, c Config) *load {
	t.Helper()
	c.Null = true
	if err := c.setDefaults(); err != nil {
		t.Fatalf("setDefaults(): %v", err)
	}
	l := &load{cfg: c, kind: kinds[c.Kind]}
	t.Cleanup(l.close)
	if err := l.prepare(); err != nil {
		t.Fatalf("prepare(): %v", err)
	}
	if err := l.startNull(); err != nil {
		t.Fatalf("startNull(): %v", err)
	}
	return l
}

// The null back end counts up indices and delivers nothing: that must not pass
// for frames.
func TestProofOfNothing(t *testing.T) {
	for _, kind := range Kinds() {
		for _, lax := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s lax=%t", kind, lax), func(t *testing.T) {
				l := prepared(t, Config{Kind: kind, Lax: lax, RingSize: 128})
				if err := l.prove(); !errors.Is(err, errWrong) {
					t.Errorf("prove() with nothing delivered = %v, want %v", err, errWrong)
				}
			})
		}
	}
}

// Every frame published is taken, and comes out in as many buffers as it takes.
func TestCounts(t *testing.T) {
	for _, tt := range []struct {
		c    Config
		want uint64 // buffers of a frame
	}{
		{Config{Kind: Plain, Size: 72}, 1},
		{Config{Kind: Super, Size: 60000}, 30},
		{Config{Kind: NVGRESuper, Size: 60000, WithholdReceive: virtio.FeatureGuestTSO4}, 43},
	} {
		t.Run(string(tt.c.Kind), func(t *testing.T) {
			f := prepared(t, tt.c).flow
			if err := f.run(20*time.Millisecond, time.Microsecond); err != nil {
				t.Fatalf("run(): %v", err)
			}
			if err := f.drain(); err != nil {
				t.Fatalf("drain(): %v", err)
			}
			n := f.count
			if n.taken == 0 || n.taken != f.published || n.buffers != n.taken*tt.want || n.lost != 0 {
				t.Errorf("%d frames published, counts %+v; want all taken, %d buffers each", f.published, n, tt.want)
			}
		})
	}
}

func TestRunNull(t *testing.T) {
	r, err := Run(Config{Null: true, CPU: -1, Warmup: time.Millisecond, Duration: 50 * time.Millisecond})
	if err != nil {
		t.Fatalf("Run(): %v", err)
	}
	if r.Frames == 0 || r.Bytes != r.Frames*72 || r.Lost != 0 {
		t.Errorf("Run() = %+v, want frames of 72 bytes and none lost", r)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{},
		{Send: "s", Null: true},
		{Null: true, Realtime: true},
		{Send: "s", Kind: "odd"},
		{Send: "s", Size: plainHeaders},
		{Send: "s", Size: 70000},
		{Send: "s", Kind: Super, MSS: 1},
		{Send: "s", RingSize: 1000},
		{Send: "s", Buffer: 1},
		{Send: "s", Flight: -1},
		{Send: "s", Flight: 1025},
		{Send: "s", Huge: "odd"},
		{Send: "s", Expect: "odd"},
		{Send: "s", Duration: -1},
	} {
		if err := c.setDefaults(); err == nil {
			t.Errorf("setDefaults() of %+v = nil, want an error", c)
		}
	}
}
