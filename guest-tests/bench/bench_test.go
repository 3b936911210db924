package bench

import (
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
)

// What is measured says nothing here, for the machine has other work; that the
// generator verifies what comes out does.
func TestRun(t *testing.T) {
	var rows []Row
	for _, r := range Rows() {
		switch r.Name {
		case "drop", "1502", "nvgre-csum":
			rows = append(rows, r)
		}
	}
	r, err := Run(t.Context(), harness.Lab(t), Options{
		Rows: rows, Rounds: 1, Duration: 50 * time.Millisecond, BackendCPU: 0, GeneratorCPU: 1, Logf: t.Logf,
	})
	if err != nil {
		t.Fatalf("Run(): %v", err)
	}
	if len(r.Lines) != len(rows) || len(rows) != 3 {
		t.Fatalf("Run() reports %d of %d rows, generator alone %.1f Mpps", len(r.Lines), len(rows), r.Ceiling)
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		if len(l.Ours) != 1 || len(l.Testpmd) != 1 || l.Ours[0].Mpps == 0 || l.Testpmd[0].Mpps == 0 {
			t.Errorf("row %s: ours %+v, testpmd's %+v, want one measurement each", l.Name, l.Ours, l.Testpmd)
		}
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Errorf("Write(): %v", err)
	}
	t.Logf("\n%s", &b)
}
