package gso_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vhost-user-nvgre/offload/gso"
)

// TestTshark has tshark decode segments of every form, in NVGRE above all, with
// all checksum checks on. It needs tshark.
//
// Shows: NDIS-041, NDIS-043, NDIS-044, NDIS-047, NDIS-048
func TestTshark(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	// pcap file header: magic, version 2.4, no time zone, snapshot length,
	// Ethernet.
	le := binary.LittleEndian
	var file []byte
	for _, v := range []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 1 << 18, 1} {
		file = le.AppendUint32(file, v)
	}
	var names []string
	for _, c := range frames() {
		spec := c.Spec
		// Random bytes look like one protocol or another now and then.
		setPayload(&spec, bytes.Repeat([]byte{0x55}, 3001))
		req := request(&spec, 1400)
		f := spec.Build()
		// tshark takes neither home addresses nor routing headers into account.
		if o := f.Levels[len(f.Levels)-1]; o.HomeAddr != 0 || o.FinalDst != 0 || o.Payload > gso.MaxHeader {
			continue
		}
		spoil(r, &spec, f)
		segments, ref := split(t, r, f.Bytes, 512, req, &wide, 1)
		if ref != gso.Accepted {
			t.Fatalf("%s: refused: %v", c.Name, ref)
		}
		for i, seg := range segments {
			for _, v := range []uint32{uint32(len(names)), 0, uint32(len(seg)), uint32(len(seg))} {
				file = le.AppendUint32(file, v)
			}
			file = append(file, seg...)
			names = append(names, fmt.Sprintf("%s, segment %d", c.Name, i))
		}
	}
	name := filepath.Join(t.TempDir(), "segments.pcap")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	fields := []string{"frame.number", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "gre.key", "_ws.malformed", "tcp.dstport", "udp.dstport"}
	args := []string{"-n", "-r", name, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"}
	for _, o := range []string{"ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"} {
		args = append(args, "-o", o+":TRUE")
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("tshark", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("tshark, which this test needs: %v\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimRight(stdout.String(), "\n"), "\n")
	if len(lines) != len(names) {
		t.Fatalf("tshark saw %d frames, want %d", len(lines), len(names))
	}
	for i, line := range lines {
		v := strings.Split(line, "\t")
		if len(v) != len(fields) {
			t.Fatalf("tshark printed %q, want %d fields", line, len(fields))
		}
		for _, status := range strings.Split(strings.Join(v[1:4], ","), ",") {
			// 1 is good; 3 is no checksum and 4 none in IPv6, where UDP should
			// have one, which is for the sender to decide.
			none := status == "3" || status == "4"
			if status != "" && status != "1" && (!none || !strings.Contains(names[i], "udp0")) {
				t.Errorf("%s: checksum states of IP, TCP, UDP: %v, want 1", names[i], v[1:4])
			}
		}
		if v[5] != "" || v[6]+v[7] == "" {
			t.Errorf("%s: malformed %q, ports %q %q", names[i], v[5], v[6], v[7])
		}
		if strings.Contains(names[i], "nvgre") && v[4] != "0xabcdef42" {
			t.Errorf("%s: GRE key %q, want 0xabcdef42", names[i], v[4])
		}
	}
	t.Logf("%d segments", len(names))
}
