package oid

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"testing"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// Messages byte by byte, as docs/oid-protocol.md has them.
func TestMessages(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"hello", (&hello{1, true, 1 << 20, "vm0"}).encode(), "17000000" + "01000000" + "4e4f4944" + "0100" + "0100" + "00001000" + "766d30"},
		{"request", (&request{7, adapter.Request{Type: adapter.Set, OID: ndis.OIDTCPOffloadParameters, Binding: 3, OutputLength: 256, Input: []byte{1, 2}}}).encode(), "1e000000" + "02000000" + "07000000" + "02000000" + "0c0201fc" + "03000000" + "00010000" + "0102"},
		{"response", (&response{7, adapter.Response{Status: ndis.StatusInvalidData, BytesNeeded: 1, BytesRead: 2, Output: []byte{9}, SupportedRevision: 4, Detail: "no"}}).encode(), "27000000" + "03000000" + "07000000" + "150001c0" + "01000000" + "02000000" + "01000000" + "04000000" + "02000000" + "09" + "6e6f"},
		{"indication", (&Indication{ndis.StatusTaskOffloadCurrentConfig, 5, []byte{1}}).encode(), "11000000" + "04000000" + "06000240" + "05000000" + "01"},
		{"refusal", (&refusal{"no"}).encode(), "0a000000" + "05000000" + "6e6f"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestBadMessages(t *testing.T) {
	request := (&request{}).encode()
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"half a header", request[:5], io.ErrUnexpectedEOF},
		{"half a message", request[:20], io.ErrUnexpectedEOF},
		{"too small", []byte{7, 0, 0, 0, 1, 0, 0, 0}, errMessage},
		{"too large", []byte{1, 0, 16, 0, 1, 0, 0, 0}, errMessage},
		{"reserved", []byte{8, 0, 0, 0, 1, 0, 1, 0}, errMessage},
	} {
		if _, _, err := receive(bytes.NewReader(tt.b), func() {}); !errors.Is(err, tt.want) {
			t.Errorf("%s: receive: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := decodeHello(make([]byte, helloSize)); !errors.Is(err, errMessage) {
		t.Errorf("hello without magic: %v", err)
	}
}

// FuzzMessage: any bytes are a message that encodes to itself, or refused.
func FuzzMessage(f *testing.F) {
	f.Add((&hello{1, true, 1 << 20, "vm0"}).encode())
	f.Add((&request{7, adapter.Request{Type: adapter.Set, Input: []byte{1}}}).encode())
	f.Add((&response{7, adapter.Response{Output: []byte{9}, Detail: "no"}}).encode())
	f.Add((&Indication{1, 5, []byte{1}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, body, err := receive(bytes.NewReader(b), func() {})
		if err != nil {
			return
		}
		var first, second any
		var again []byte
		decode := func(b []byte) (any, []byte, error) {
			switch k {
			case kindHello:
				h, err := decodeHello(b)
				return h, h.encode(), err
			case kindRequest:
				r, err := decodeRequest(b)
				return r, r.encode(), err
			case kindResponse:
				r, err := decodeResponse(b)
				if len(r.Detail) > maxDetail {
					err = errMessage // is cut
				}
				return r, r.encode(), err
			case kindIndication:
				i, err := decodeIndication(b)
				return i, i.encode(), err
			}
			return nil, nil, errMessage
		}
		if first, again, err = decode(body); err != nil {
			return
		}
		k2, body2, err := receive(bytes.NewReader(again), func() {})
		if err != nil || k2 != k {
			t.Fatalf("%s %+v encodes to %x: %v", k, first, again, err)
		}
		if second, _, err = decode(body2); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%s %+v becomes %+v, %v", k, first, second, err)
		}
	})
}
