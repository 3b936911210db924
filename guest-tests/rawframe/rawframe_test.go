package rawframe

import (
	"bytes"
	"reflect"
	"testing"

	"vhost-user-nvgre/virtio"
)

func TestRecords(t *testing.T) {
	list := []Frame{
		{virtio.NetHdr{Flags: 1, GSOType: 4, HdrLen: 66, GSOSize: 1400, CsumStart: 34, CsumOffset: 16}, []byte("one frame")},
		{virtio.NetHdr{}, []byte{}},
	}
	var b []byte
	for _, f := range list {
		b = Append(b, f)
	}
	got, err := Read(bytes.NewReader(b))
	if err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("Read(Append(%v)) = %v, %v", list, got, err)
	}
	for _, bad := range [][]byte{b[:3], b[:len(b)-1], {9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {0xff, 0xff, 0xff, 0xff}} {
		if got, err := Read(bytes.NewReader(bad)); err == nil {
			t.Errorf("Read(%x) = %v, want an error", bad, got)
		}
	}
}
