package nvgre

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rawframe"
)

// dissected is what tshark finds in a frame: of each kind of checksum the
// states, "1" for a good one, from the outermost header inwards.
type dissected struct {
	ip, tcp, udp []string
	key          string
	malformed    bool
}

// bad reports whether a checksum is other than good.
func (d *dissected) bad() bool {
	for _, list := range [][]string{d.ip, d.tcp, d.udp} {
		for _, state := range list {
			if state != "1" {
				return true
			}
		}
	}
	return d.malformed
}

// dissect has tshark decode frames with all checksum checks on.
func dissect(t *testing.T, frames []rawframe.Frame) []dissected {
	t.Helper()
	name := filepath.Join(t.TempDir(), "frames.pcap")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriter(file)
	if err := w.WriteFileHeader(1<<18, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(f.Data), Length: len(f.Data)}
		if err := w.WritePacket(info, f.Data); err != nil {
			t.Fatal(err)
		}
	}
	tool, err := harness.Lab(t).Tool(t.Context(), "tshark")
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{"ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "gre.key", "_ws.malformed"}
	args := []string{"-n", "-r", name, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"}
	for _, o := range []string{"ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"} {
		args = append(args, "-o", o+":TRUE")
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := tool.Command(t.Context(), args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var list []dissected
	for line := range strings.Lines(string(out)) {
		v := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(v) != len(fields) {
			t.Fatalf("tshark printed %q, want %d fields", line, len(fields))
		}
		list = append(list, dissected{states(v[0]), states(v[1]), states(v[2]), v[3], v[4] != ""})
	}
	if len(list) != len(frames) {
		t.Fatalf("tshark saw %d frames, want %d", len(list), len(frames))
	}
	return list
}

func states(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
