package bench

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	r := &Report{
		Machine: "machine", Setting: "setting", Ceiling: 1000.4,
		Lines: []Line{
			{
				Row: Row{Title: "short", AtLeast: 1}, Name: "a",
				Ours:    []Sample{{Mpps: 10, Gbps: 100}, {Mpps: 30, Gbps: 300, Starved: 0.5}, {Mpps: 20, Gbps: 200}},
				Testpmd: []Sample{{Mpps: 5, Gbps: 50}, {Mpps: 10, Gbps: 100}, {Mpps: 20, Gbps: 200, Lost: 3}},
			},
			{
				Row: Row{Title: "behind", AtLeast: 1}, Name: "b",
				Ours:    []Sample{{Mpps: 0.5, Gbps: 1}, {Mpps: 0.7, Gbps: 2, Disturbed: 0.25}},
				Testpmd: []Sample{{Mpps: 1, Gbps: 1}, {Mpps: 1, Gbps: 1}},
			},
			{
				Row: Row{Title: "slow", AtLeast: 1, AtLeastGbps: 45}, Name: "c",
				Ours: []Sample{{Mpps: 2, Gbps: 44}}, Testpmd: []Sample{{Mpps: 1, Gbps: 22}},
			},
		},
	}
	// Ratios are taken by round: 2, 3 and 1.
	const want = `machine
setting
the generator alone reaches 1000 Mpps; it left back ends without work at up to 50.00 % of its looks at the rings

port to port  ours: Mpps      min..max  Gbit/s  testpmd: Mpps     min..max  Gbit/s  ratio    min..max           wanted
short              20.00  10.00..30.00   200.0          10.00  5.00..20.00   100.0   2.00  1.00..3.00                1
behind             0.600  0.500..0.700     1.5           1.00   1.00..1.00     1.0   0.60  0.50..0.70                1
slow                2.00    2.00..2.00    44.0           1.00   1.00..1.00    22.0   2.00  2.00..2.00  1 and 45 Gbit/s

a, testpmd: up to 3 frames were lost in a round.
Other work took up to 25 % of a processor (row b): trust ratios, not rates.
Below what is wanted: b, c.
`
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatalf("Write(): %v", err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("Write() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"b", "c"}, r.Short()); diff != "" {
		t.Errorf("Short() (-want +got):\n%s", diff)
	}
}
