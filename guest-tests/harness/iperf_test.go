package harness

import (
	"strings"
	"testing"
)

func TestIperfArguments(t *testing.T) {
	for _, tt := range []struct {
		i    Iperf
		want string
	}{
		{Iperf{}, "iperf3 --client h --port 5201 --json --time 5 --connect-timeout 10000"},
		{Iperf{Seconds: 2, UDP: true}, "iperf3 --client h --port 5201 --json --time 2 --connect-timeout 10000 --udp --bitrate 0"},
		{
			Iperf{UDP: true, Rate: "1G", Streams: 4, Reverse: true, Length: 1400, Args: []string{"-Z"}},
			"iperf3 --client h --port 5201 --json --time 5 --connect-timeout 10000 --udp --bitrate 1G --parallel 4 --reverse --length 1400 -Z",
		},
		{Iperf{Bidirectional: true}, "iperf3 --client h --port 5201 --json --time 5 --connect-timeout 10000 --bidir"},
	} {
		if got := strings.Join(tt.i.arguments("h", 5201), " "); got != tt.want {
			t.Errorf("arguments of %+v\n got %s\nwant %s", tt.i, got, tt.want)
		}
	}
}

// The reports are iperf 3.18's, shortened.
func TestParseIperf(t *testing.T) {
	tcp := `{"start":{},"end":{"streams":[],
		"sum_sent":{"start":0,"end":2,"seconds":2.0,"bytes":1000,"bits_per_second":4000.5,"retransmits":3,"sender":true},
		"sum_received":{"seconds":2.1,"bytes":900,"bits_per_second":3428.5,"sender":true},
		"sum_sent_bidir_reverse":{"bytes":7,"retransmits":1},"sum_received_bidir_reverse":{"bytes":6}}}`
	r, err := parseIperf([]byte(tcp))
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent.Bytes != 1000 || r.Sent.Retransmits != 3 || r.Received.BitsPerSecond != 3428.5 || r.BackSent.Bytes != 7 || r.BackReceived.Bytes != 6 {
		t.Errorf("TCP: %+v", r)
	}
	udp := `{"end":{"sum":{"lost_packets":5},"sum_sent":{"packets":100,"lost_packets":0},"sum_received":{"packets":100,"lost_packets":5,"jitter_ms":0.25}}}`
	if r, err = parseIperf([]byte(udp)); err != nil || r.Received.Packets != 100 || r.Received.LostPackets != 5 || r.Received.JitterMS != 0.25 {
		t.Errorf("UDP: %+v, %v", r, err)
	}
	for _, bad := range []string{``, `{`, `{}`, `{"end":{}}`, `{"end":{"sum_sent":{}}}`, `{"end":{},"error":"unable to connect"}`} {
		if r, err := parseIperf([]byte(bad)); err == nil {
			t.Errorf("parseIperf(%s) = %+v, want an error", bad, r)
		}
	}
}

func FuzzParseIperf(f *testing.F) {
	f.Add([]byte(`{"end":{"sum_sent":{"bytes":1},"sum_received":{"bytes":1}}}`))
	f.Fuzz(func(t *testing.T, report []byte) {
		if r, err := parseIperf(report); (r == nil) == (err == nil) {
			t.Errorf("parseIperf(%q) = %v, %v: want one of them", report, r, err)
		}
	})
}
