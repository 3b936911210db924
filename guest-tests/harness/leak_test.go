package harness

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestChildProcesses(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	isSleep := func(s string) bool { return strings.HasSuffix(s, " sleep") }
	if list, err := childProcesses(); err != nil || !slices.ContainsFunc(list, isSleep) {
		t.Errorf("childProcesses() = %q, %v, want one named sleep", list, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // Says that it was killed.
	if list, err := childProcesses(); err != nil || slices.ContainsFunc(list, isSleep) {
		t.Errorf("childProcesses() after sleep ended = %q, %v", list, err)
	}
}

func TestOpenFDs(t *testing.T) {
	before, err := openFDs()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	after, err := openFDs()
	if err != nil || len(after) != len(before)+1 {
		t.Errorf("openFDs() = %q, %v, want one more than %q", after, err, before)
	}
	f.Close()
	if left := remaining(openFDs, before); len(left) != 0 {
		t.Errorf("remaining() after closing = %q, want none", left)
	}
}
