package agentproto

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestBytesRoundTrip(t *testing.T) {
	random := make([]byte, MaxData)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	for _, size := range []int{0, 1, compressFrom - 1, compressFrom, 5000, MaxData} {
		for name, want := range map[string][]byte{"random": random[:size], "zero": make([]byte, size)} {
			line, err := Encode(Event{Kind: Data, Data: want})
			if err != nil {
				t.Fatalf("Encode(%s, %d bytes) = %v", name, size, err)
			}
			var got Event
			if err := json.Unmarshal(line, &got); err != nil || !bytes.Equal(got.Data, want) {
				t.Errorf("%s, %d bytes: got %d bytes, %v", name, size, len(got.Data), err)
			}
			if len(line) > MaxLine {
				t.Errorf("%s, %d bytes: the line has %d, more than MaxLine", name, size, len(line))
			}
			if name == "zero" && size > 1000 && len(line) > size/10 {
				t.Errorf("%d zeros took %d bytes, want them compressed", size, len(line))
			}
		}
	}
}

func TestBytesRefused(t *testing.T) {
	bomb, err := Bytes(make([]byte, MaxData+1)).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{
		"no method":      `""`,
		"unknown method": `"?AAAA"`,
		"bad base64":     `"-A"`,
		"bad deflate":    `"z/////w=="`,
		"no string":      `5`,
		"too much":       string(bomb),
		"too much plain": `"-` + strings.Repeat("AAAA", MaxData/3+1) + `"`,
	} {
		var b Bytes
		if err := json.Unmarshal([]byte(in), &b); err == nil {
			t.Errorf("%s: Unmarshal(%.40s) = nil error, %d bytes", name, in, len(b))
		}
	}
}

func FuzzBytes(f *testing.F) {
	f.Add([]byte(`"-AAAA"`))
	f.Add([]byte(`"zAAD//w=="`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var b Bytes
		if json.Unmarshal(in, &b) != nil {
			return
		}
		if len(b) > MaxData {
			t.Errorf("Unmarshal(%q) gave %d bytes, more than MaxData", in, len(b))
		}
	})
}
